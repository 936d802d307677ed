"""Makes the virtual environment with the libraries our models are held against; STAIR needs none of them.

    python tools/reference_venv.py          prints the path of its Python

Only `tools/model_parity.py` uses it. It is made once, in .venvs/models, from the package index (torch for
the CPU and three model libraries, about 1.3 GB, a minute or two); remove the folder to make it anew.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / ".venvs" / "models"
PINS = ("torch>=2.8,<2.14", "timm==0.9.16", "transformers==4.57.6", "diffusers==0.35.2")
"""timm of the series that OpenVLA asks for (>=0.9.10, <1.0.0); diffusers has had Wan2.2's VAE since 0.35."""


def reference_python() -> Path:
    """The environment's Python, after making it where it is missing or half-made."""
    python, finished = FOLDER / "bin" / "python", FOLDER / "installed"
    if finished.is_file() and finished.read_text().split("\n") == list(PINS):
        return python
    print(f"making {FOLDER} with {' '.join(PINS)} …", file=sys.stderr, flush=True)
    base = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([base, "-m", "venv", str(FOLDER)], check=True)
    quiet = ["--quiet", "--disable-pip-version-check"]
    subprocess.run([str(python), "-m", "pip", "install", *quiet, *PINS], check=True, stdout=sys.stderr)
    finished.write_text("\n".join(PINS))
    return python


if __name__ == "__main__":
    print(reference_python())
