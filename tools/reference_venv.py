"""Makes the virtual environments with the libraries ours are held against; STAIR itself needs none of them.

    python tools/reference_venv.py tf          prints the path of its Python
    python tools/reference_venv.py models
    python tools/reference_venv.py clients

Each is made once, in .venvs/NAME, from the package index (1.3 to 1.8 GB, a minute or two; clients 0.3 GB);
remove the folder to make it anew. Only tools/parity.py, tools/model_parity.py, tools/bench/loader.py and
tests/serve/test_clients.py use them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDERS = Path(__file__).resolve().parents[1] / ".venvs"
PINS = {
    "tf": ("tensorflow-cpu==2.21.0", "tensorflow-datasets==4.9.10"),
    # timm of the series that OpenVLA asks for (>=0.9.10, <1.0.0); diffusers has had Wan2.2's VAE since 0.35.
    "models": ("torch>=2.8,<2.14", "timm==0.9.16", "transformers==4.57.6", "diffusers==0.35.2"),
    # openpi-client wants numpy 1, so it cannot stand beside STAIR, and it forgets to name typing_extensions.
    "clients": ("openpi-client==0.1.2", "typing_extensions", "vla-eval==0.8.0"),
}


def reference_python(name: str) -> Path:
    """The environment's Python, after making it where it is missing or half-made."""
    folder, pins = FOLDERS / name, PINS[name]
    python, finished = folder / "bin" / "python", folder / "installed"
    if finished.is_file() and finished.read_text().split("\n") == list(pins):
        return python
    print(f"making {folder} with {' '.join(pins)} …", file=sys.stderr, flush=True)
    base = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([base, "-m", "venv", str(folder)], check=True)
    quiet = ["--quiet", "--disable-pip-version-check"]
    subprocess.run([str(python), "-m", "pip", "install", *quiet, *pins], check=True, stdout=sys.stderr)
    finished.write_text("\n".join(pins))
    return python


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in PINS:
        sys.exit(f"usage: reference_venv.py {{{','.join(PINS)}}}")
    print(reference_python(sys.argv[1]))
