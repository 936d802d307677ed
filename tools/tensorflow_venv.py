"""Makes the virtual environment with TensorFlow, which STAIR itself never needs.

    python tools/tensorflow_venv.py          prints the path of its Python

Only `tools/parity.py` and `tools/bench/loader.py` use it: they hold our data line against tfds and tf.data.
It is made once, in .venvs/tf, from PyPI (about 1.8 GB, a minute); remove the folder to make it anew.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / ".venvs" / "tf"
PINS = ("tensorflow-cpu==2.21.0", "tensorflow-datasets==4.9.10")


def tensorflow_python() -> Path:
    """The environment's Python, after making it where it is missing or half-made."""
    python, finished = FOLDER / "bin" / "python", FOLDER / "installed"
    if finished.is_file() and finished.read_text().split() == list(PINS):
        return python
    print(f"making {FOLDER} with {' '.join(PINS)} …", file=sys.stderr, flush=True)
    base = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([base, "-m", "venv", str(FOLDER)], check=True)
    quiet = ["--quiet", "--disable-pip-version-check"]
    subprocess.run([str(python), "-m", "pip", "install", *quiet, *PINS], check=True, stdout=sys.stderr)
    finished.write_text("\n".join(PINS))
    return python


if __name__ == "__main__":
    print(tensorflow_python())
