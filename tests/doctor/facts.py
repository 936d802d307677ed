"""Facts of a healthy GPU node, to be broken one thing at a time."""

from __future__ import annotations

import copy
from typing import Any

LOADS = {"fine": True}
HEALTHY: dict[str, Any] = {
    "probe": 1,
    "time": "2026-01-01T00:00:00+0000",
    "host": "gpu01",
    "system": "Linux",
    "python": {"version": [3, 11, 7], "executable": "/venv/bin/python"},
    "stair": {"version": "0.1.0", "file": "/stair/__init__.py"},
    "variables": {},
    "torch": {
        "found": True,
        "code": 0,
        "version": "2.8.0+cu128",
        "built_for": "12.8",
        "cuda": True,
        "devices": ["H100"],
    },
    "nvidia": {
        "module": "NVRM version: 570.1",
        "devices": ["/dev/nvidia0"],
        "smi": {"found": True, "code": 0, "out": "0, H100, 570.1, 81559 MiB\n", "err": ""},
        "egl_vendors": ["/usr/share/glvnd/egl_vendor.d/10_nvidia.json"],
    },
    "vulkan": {
        "loader": LOADS,
        "named_by_variable": False,
        "icds": [
            {
                "path": "/usr/share/vulkan/icd.d/nvidia_icd.json",
                "exists": True,
                "size": 140,
                "api_version": "1.4.303",
                "library": "libGLX_nvidia.so.0",
                "loads": LOADS,
            }
        ],
    },
    "apptainer": {"found": True, "code": 0, "line": "apptainer version 1.4.5-2", "err": ""},
    "slurm": {"found": True, "code": 0, "line": "slurm-wlm 22.05.8", "err": ""},
    "disk": [{"name": "run folder", "path": "/runs", "free_gb": 500.0, "total_gb": 1000.0, "writable": True}],
    "shm": {"name": "shared memory", "path": "/dev/shm", "free_gb": 60.0, "total_gb": 60.0, "writable": True},
}


def broken(**changes: Any) -> dict[str, Any]:
    """Healthy facts with some values replaced; `vulkan__loader` reaches inside."""
    facts = copy.deepcopy(HEALTHY)
    for key, value in changes.items():
        *parents, leaf = key.split("__")
        spot = facts
        for parent in parents:
            spot = spot[parent]
        spot[leaf] = value
    return facts


def without_gpu(**changes: Any) -> dict[str, Any]:
    """The facts of a machine that never had a GPU."""
    nvidia = {"module": None, "devices": [], "smi": {"found": False}, "egl_vendors": []}
    torch = {**HEALTHY["torch"], "cuda": False, "devices": []}
    return broken(**{"nvidia": nvidia, "torch": torch, **changes})
