"""Collects the facts about a machine as one JSON value; judges nothing.

Standard library only and no import of stair, so that the very same file runs inside any image:
`python probe.py [FOLDER]`. Whatever may hang or crash (importing torch, loading a driver's library,
nvidia-smi) happens in a child process with a time limit: a Vulkan loader can deadlock, a broken driver
can segfault, and both are findings, not accidents.
"""

import glob
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

PROBE = 1
TORCH = """
import json, torch
cuda = torch.cuda.is_available()
names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else []
fact = {"version": torch.__version__, "built_for": torch.version.cuda, "cuda": cuda, "devices": names}
print(json.dumps(fact))
"""
LOAD = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
ICD_FOLDERS = (
    "/etc/vulkan/icd.d",
    "/usr/local/etc/vulkan/icd.d",
    "/usr/local/share/vulkan/icd.d",
    "/usr/share/vulkan/icd.d",
)
EGL_FOLDERS = ("/etc/glvnd/egl_vendor.d", "/usr/share/glvnd/egl_vendor.d")
VARIABLES = (
    "VK_DRIVER_FILES",
    "VK_ICD_FILENAMES",
    "VK_ADD_DRIVER_FILES",
    "VK_LOADER_DRIVERS_SELECT",
    "VK_LOADER_DRIVERS_DISABLE",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "DISPLAY",
    "LD_LIBRARY_PATH",
)


def collect(folder: str = ".", timeout_s: float = 60.0) -> dict[str, Any]:
    """All facts. `folder` is where runs will be written; `timeout_s` bounds each child process."""
    return {
        "probe": PROBE,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "host": platform.node(),
        "system": platform.platform(),
        "python": {"version": list(sys.version_info[:3]), "executable": sys.executable},
        "stair": stair(timeout_s),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "torch": torch(timeout_s),
        "nvidia": nvidia(timeout_s),
        "vulkan": vulkan(timeout_s),
        "apptainer": first_line(["apptainer", "--version"], timeout_s),
        "slurm": first_line(["sbatch", "--version"], timeout_s),
        "disk": [disk("run folder", folder), disk("temporary files", tempfile.gettempdir())],
        "shm": disk("shared memory", "/dev/shm"),
    }


def run(command: list[str], timeout_s: float) -> dict[str, Any]:
    """One child process: whether it was found, how it ended, what it said."""
    if shutil.which(command[0]) is None:
        return {"found": False}
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, errors="replace"
        )
    except subprocess.TimeoutExpired:
        return {"found": True, "timed_out": timeout_s}
    except OSError as error:
        return {"found": True, "code": -1, "out": "", "err": str(error)}
    return {"found": True, "code": done.returncode, "out": done.stdout[-20000:], "err": done.stderr[-4000:]}


def first_line(command: list[str], timeout_s: float) -> dict[str, Any]:
    """What a program says about itself."""
    said = run(command, timeout_s)
    if "out" in said:
        said["line"] = (said.pop("out").strip().splitlines() or [""])[0]
    return said


def stair(timeout_s: float) -> dict[str, Any]:
    code = "import stair; print(stair.__version__); print(stair.__file__)"
    said = run([sys.executable, "-c", code], timeout_s)
    lines = said.get("out", "").split()
    return {"version": lines[0], "file": lines[1]} if said.get("code") == 0 and len(lines) > 1 else said


def torch(timeout_s: float) -> dict[str, Any]:
    said = run([sys.executable, "-c", TORCH], timeout_s)
    if said.get("code") == 0:
        said.update(json.loads(said.pop("out").strip().splitlines()[-1]))
    return said


def nvidia(timeout_s: float) -> dict[str, Any]:
    """The driver as the kernel and nvidia-smi know it."""
    query = ["nvidia-smi", "--query-gpu=index,name,driver_version,memory.total", "--format=csv,noheader"]
    return {
        "module": read("/proc/driver/nvidia/version"),
        "devices": sorted(glob.glob("/dev/nvidia[0-9]*")),
        "smi": run(query, timeout_s),
        "egl_vendors": listed(EGL_FOLDERS, "*nvidia*.json"),
    }


def vulkan(timeout_s: float) -> dict[str, Any]:
    """The loader, and every driver file it will read, in its order."""
    named = os.environ.get("VK_DRIVER_FILES") or os.environ.get("VK_ICD_FILENAMES")
    if named:
        paths = [path for word in named.split(os.pathsep) if word for path in json_files(word)]
    else:
        home = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
        added = (os.environ.get("VK_ADD_DRIVER_FILES") or "").split(os.pathsep)
        paths = [path for word in added if word for path in json_files(word)]
        paths += listed((*ICD_FOLDERS, os.path.join(home, "vulkan/icd.d")), "*.json")
    return {
        "loader": loads("libvulkan.so.1", timeout_s),
        "named_by_variable": bool(named),
        "icds": [icd(path, timeout_s) for path in paths],
    }


def icd(path: str, timeout_s: float) -> dict[str, Any]:
    """One driver file: what stands in it, and whether its library loads."""
    text = read(path)
    if text is None:
        return {"path": path, "exists": False}
    fact = {"path": path, "exists": True, "size": len(text)}
    try:
        inside = json.loads(text)["ICD"]
        library = inside["library_path"]
    except (ValueError, KeyError, TypeError) as error:
        fact["broken"] = f"{type(error).__name__}: {error}"
        return fact
    if "/" in library and not os.path.isabs(library):
        library = os.path.join(os.path.dirname(os.path.abspath(path)), library)
    fact.update(api_version=inside.get("api_version"), library=library, loads=loads(library, timeout_s))
    return fact


def loads(library: str, timeout_s: float) -> dict[str, Any]:
    """Whether the dynamic linker takes a library, tried in a child: some crash or hang."""
    said = run([sys.executable, "-c", LOAD, library], timeout_s)
    if "timed_out" in said:
        return {"fine": False, "error": f"no answer within {timeout_s:g} s"}
    error = (said["err"].strip().splitlines() or [f"exit {said['code']}"])[-1]
    return {"fine": True} if said["code"] == 0 else {"fine": False, "error": error}


def disk(name: str, path: str) -> dict[str, Any]:
    """Free space where `path` is, or where it would be made."""
    place = os.path.abspath(path)
    while not os.path.exists(place):
        place = os.path.dirname(place)
    try:
        space = shutil.disk_usage(place)
    except OSError as error:
        return {"name": name, "path": path, "error": str(error)}
    gigabyte = 1e9
    return {
        "name": name,
        "path": os.path.abspath(path),
        "free_gb": round(space.free / gigabyte, 2),
        "total_gb": round(space.total / gigabyte, 2),
        "writable": os.access(place, os.W_OK),
    }


def read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def json_files(word: str) -> list[str]:
    """A variable may name a file or a folder of them."""
    return listed((word,), "*.json") if os.path.isdir(word) else [word]


def listed(folders: tuple[str, ...], pattern: str) -> list[str]:
    return [path for folder in folders for path in sorted(glob.glob(os.path.join(folder, pattern)))]


if __name__ == "__main__":
    print(json.dumps(collect(sys.argv[1] if len(sys.argv) > 1 else "."), indent=2))
