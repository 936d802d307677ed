"""How tests run the probe: as others do, a lone file in an interpreter of its own. And what a sheet has."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from stair.doctor import probe

PROBE = Path(probe.__file__)
KEYS = {
    "image": "",
    "system": "kernel machine distribution distribution_id libc uid groups boot_s",
    "python": "version executable packages",
    "driver": "version text modules pci gpus nodes xids smi",
    "vulkan": "loader named_by icds icds_elsewhere layers instance said devices",
    "egl": "vendors",
    "cpu": "count affinity quota model numa",
    "memory": "total_mb available_mb limit_mb used_mb cgroup swap_mb",
    "shm": "path type free_mb total_mb writable error",
    "limits": "",
    "network": "interfaces infiniband name_resolves_to",
    "apptainer": "found path version code error user_namespaces setuid nvliblist",
    "slurm": "found version code error job",
}
ENTRIES = {
    (
        "vulkan",
        "icds",
    ): "path exists readable errno size broken library resolved api_version loads is_loader devices"
    " failed said",
    ("vulkan", "layers"): "path name kind library loads broken",
    ("vulkan", "devices"): "index name type vendor uuid pci driver driver_info api_version lacks",
    ("egl", "vendors"): "path broken library loads",
    ("network", "interfaces"): "name up addresses mtu speed_mb_s",
    ("driver", "nodes"): "path mode owner errno error",
}
LISTS = {
    "libraries": "name loads path version error missing",
    "disks": "name path type free_mb total_mb free_inodes writable write_mb_s sync_ms error",
}


def run_probe(
    *words: str,
    python: Sequence[str] = (sys.executable, "-I"),
    env: Mapping[str, str | None] | None = None,
    timeout_s: float = 200,
) -> dict[str, Any]:
    """The sheet that `python probe.py WORDS` prints; a variable that is None is taken away."""
    variables = {**os.environ, **(env or {})}
    done = subprocess.run(
        [*python, str(PROBE), *words],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={name: value for name, value in variables.items() if value is not None},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


def check_shape(sheet: Mapping[str, Any]) -> None:
    """Every key of the sheet, and no other: consumers read them by these names."""
    plain = {"probe", "time", "clock", "took_s", "host", "inside", "nvoptix"}
    assert set(sheet) == plain | set(probe.SECTIONS)
    assert sheet["probe"] == 2
    for name, keys in KEYS.items():
        if keys and "failed" not in sheet[name]:
            assert set(sheet[name]) == set(keys.split()), name
    for (name, part), keys in ENTRIES.items():
        for entry in sheet[name].get(part, ()):
            assert set(entry) == set(keys.split()), (name, part)
    for name, keys in LISTS.items():
        if "failed" not in sheet[name]:
            for entry in sheet[name]:
                assert set(entry) - {"copies"} == set(keys.split()), name


def compiled(folder: Path, name: str, source: str, *options: str) -> Path:
    """A shared library of C source; skips where there is no compiler."""
    if not shutil.which("gcc"):
        pytest.skip("no gcc to make a library with")
    folder.mkdir(parents=True, exist_ok=True)
    text = folder / f"{name}.c"
    text.write_text(source)
    words = ["gcc", "-shared", "-fPIC", "-o", str(folder / name), str(text), *options]
    subprocess.run(words, check=True, timeout=60)
    text.unlink()
    return folder / name
