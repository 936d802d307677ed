"""What this node's NVIDIA driver needs inside an image besides what `apptainer --nv` brings by itself.

Takes a host's files (`look_at_drivers`) and the version of Apptainer, hands on a Graphics: libraries to bind,
variables to set, and what to tell. Asked where an image starts (`on_this_node`): a plan is made elsewhere,
often on a machine without a GPU, and shows `--nv` for all of it.

The surprise: the host's Vulkan driver file is not what counts. Red Hat's packages write a path of the host
into it (/usr/lib64/libGLX_nvidia.so.0), the installer puts it into /etc, and Apptainer brings it only since
1.4.0 and under one name. So our image's own file, which names the library alone, stands for it, and both
lists that Vulkan loaders know are set to that one file. It gives way to the host's in one case: where the
host names another library, as headless ones do with libEGL_nvidia.so.0. Then the host's is bound *over* the
image's: whichever it is, it lies in one place, where stair/sim/render.py looks first and sets the same names
to the same path. Inside, render.py has the last word, since a task may be drawn by the CPU under `--nv` too.

Our libraries get a folder of their own: two binds of one name in Apptainer's are a fatal error.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path, PurePosixPath

from stair.cluster.container import RUNTIME, Bind, gets_gpus, with_drivers
from stair.frozen import frozen

IMAGE_FOLDER = "/opt/stair/icd"
"""Where our evaluation image has its driver files."""
VULKAN_FILE, EGL_FILE = f"{IMAGE_FOLDER}/nvidia_icd.json", f"{IMAGE_FOLDER}/10_nvidia.json"
LIBRARY_FOLDER = "/opt/stair/driver"
"""Where libraries are bound inside. Apptainer puts its own folder behind it in LD_LIBRARY_PATH, which images
of ours do not set themselves."""
VULKAN_FOLDERS = ("/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/usr/share/vulkan/icd.d")
"""In the order of the Vulkan loader."""
OPTIX = "/usr/share/nvidia/nvoptix.bin"
"""What the denoiser of ray-traced pictures reads, at the only place where the driver looks."""
OPTIX_SINCE = (1, 4, 0)
GLX, EGL = "libGLX_nvidia.so.0", "libEGL_nvidia.so.0"
FIRST, NEVER = (0, 0, 0), (10**6, 0, 0)
SINCE = {
    **dict.fromkeys(("libcuda", "libnvidia-ml", "libnvidia-ptxjitcompiler"), FIRST),
    **dict.fromkeys(("libGLX_nvidia", "libEGL_nvidia", "libnvidia-cfg", "libnvidia-tls"), FIRST),
    **dict.fromkeys(("libnvidia-glcore", "libnvidia-eglcore", "libnvidia-glsi"), FIRST),
    **dict.fromkeys(("libnvidia-glvkspirv", "libnvidia-rtcore"), FIRST),
    "libnvidia-gpucomp": (1, 2, 4),  # CUDA needs it as well since driver 575
    "libnvidia-nvvm": (1, 2, 5),
    "libnvoptix": (1, 4, 0),  # until then under a name that matched nothing
    "libnvidia-allocator": NEVER,
    "libnvidia-egl-gbm": NEVER,
    "libnvidia-present": NEVER,  # named by an implicit layer that `--nv` brings since 1.4.0
    "libnvidia-vulkan-producer": NEVER,
}
"""Since which Apptainer `--nv` brings a library of the ld cache: etc/nvliblist.conf of its releases."""


@frozen
class HostDrivers:
    """What a host has of NVIDIA's driver for drawing. All paths are real files that can be read."""

    version: str = ""
    """That of the loaded kernel module; empty without one."""
    libraries: Mapping[str, str] = field(default_factory=dict)
    """Where the library of a name lies, for this processor and this driver."""
    cached: frozenset[str] = frozenset()
    """The names that the ld cache knows: Apptainer finds no others."""
    vulkan: tuple[tuple[str, str], ...] = ()
    """NVIDIA's driver files and the library that each names, in the order of the loader."""
    optix: str = ""


@frozen
class Graphics:
    """What is added to the start of an image with `--nv`, see `container.with_drivers`."""

    binds: tuple[Bind, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """For the step's log: the plan could not know it."""


def on_this_node(
    argv: Sequence[str], environment: Mapping[str, str]
) -> tuple[tuple[str, ...], dict[str, str], tuple[str, ...]]:
    """A start of ours, argv and all variables, with what the driver here needs where it has `--nv`; and what
    to tell about it. Unchanged without `--nv`, or without a driver."""
    here = graphics_of_this_node(environment) if gets_gpus(argv) else Graphics()
    return (*with_drivers(argv, environment, here.binds, here.variables), here.notes)


def graphics_of_this_node(environment: Mapping[str, str]) -> Graphics:
    """What is to be added to a start with `--nv` here, by the Apptainer on the PATH of `environment`; nothing
    without a driver."""
    drivers = look_at_drivers()
    return graphics(drivers, apptainer_version(environment)) if drivers.libraries else Graphics()


def graphics(drivers: HostDrivers, apptainer: tuple[int, ...]) -> Graphics:
    """Decides what to add. `apptainer` is its version, () for one that is not known and may be any."""
    brought = {name for name in drivers.cached if apptainer >= SINCE[_stem(name)]}
    files_brought = {drivers.libraries[name] for name in brought & set(drivers.libraries)}
    besides = {name: path for name, path in sorted(drivers.libraries.items()) if path not in files_brought}
    binds = [Bind(path, f"{LIBRARY_FOLDER}/{name}", read_only=True) for name, path in besides.items()]
    variables = {"LD_LIBRARY_PATH": LIBRARY_FOLDER} if besides else {}
    if drivers.optix and apptainer < OPTIX_SINCE:
        binds.append(Bind(drivers.optix, OPTIX, read_only=True))
    names = ", ".join(PurePosixPath(bind.inside).name for bind in binds)
    notes = [f"bound besides --nv: {names}"] if binds else []
    if GLX in drivers.libraries or EGL in drivers.libraries:
        variables |= {"VK_DRIVER_FILES": VULKAN_FILE, "VK_ICD_FILENAMES": VULKAN_FILE}
        path, library = drivers.vulkan[0] if drivers.vulkan else ("", GLX)
        if library != GLX and library in drivers.libraries:
            binds.append(Bind(path, VULKAN_FILE, read_only=True))
            notes.append(f"Vulkan draws with {library}, as {path} says")
        if EGL in drivers.libraries:
            variables["__EGL_VENDOR_LIBRARY_FILENAMES"] = EGL_FILE
    return Graphics(tuple(binds), variables, tuple(notes))


def look_at_drivers(root: Path = Path("/")) -> HostDrivers:
    """Reads a host's tree; the machine's own, or one that lies elsewhere, with its links as seen in it."""
    version = _driver_version(root)
    cached = {name: real for name, path in _ld_cache(root) if (real := _real_file(root, path))}
    libraries = {name: real for name, path in _in_folders(root) if (real := _real_file(root, path))} | cached
    mine = {name: path for name, path in libraries.items() if not _of_another_driver(name, version)}
    return HostDrivers(
        version=version,
        libraries=mine,
        cached=frozenset(mine.keys() & cached.keys()),
        vulkan=tuple(_vulkan_files(root)),
        optix=_real_file(root, OPTIX),
    )


def apptainer_version(environment: Mapping[str, str]) -> tuple[int, ...]:
    """That of the Apptainer which would be started, () where it does not tell."""
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", _said([RUNTIME, "--version"], environment))
    return tuple(int(number) for number in found.groups()) if found else ()


def _said(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    """What a program prints; nothing where it does not run."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, env=dict(environment))
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def _stem(name: str) -> str:
    return name.partition(".so")[0]


def _of_another_driver(name: str, version: str) -> bool:
    """Whether a name ends in the version of another driver: left behind by an update, or next in line."""
    suffix = name.partition(".so.")[2]
    return bool(version and re.match(r"\d{3,}\.\d", suffix)) and suffix != version


def _driver_version(root: Path) -> str:
    try:
        text = (root / "proc/driver/nvidia/version").read_text()
    except OSError:
        return ""
    found = re.search(r"\b\d{3,}\.\d+(\.\d+)?\b", text)
    return found[0] if found else ""


def _ld_cache(root: Path) -> Iterator[tuple[str, str]]:
    """Names and paths of the 64-bit libraries we know of, first come first."""
    program = shutil.which("ldconfig", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    cache = root / "etc/ld.so.cache"
    if not program or not cache.is_file():
        return
    said = _said([program, "-p", "-C", str(cache)], os.environ)
    seen = set()
    for name, kind, path in re.findall(r"^\s*(\S+) \((.*?)\) => (.+)$", said, re.MULTILINE):
        if _stem(name) in SINCE and "64" in kind and name not in seen:
            seen.add(name)
            yield name, path


def _in_folders(root: Path) -> Iterator[tuple[str, str]]:
    """The same of the folders that distributions use, cached or not; the folder that counts comes last."""
    triplet = f"/usr/lib/{platform.machine()}-linux-gnu"
    for folder in (
        *("/run/opengl-driver/lib", "/usr/lib", "/usr/lib64/nvidia", "/usr/lib64"),
        *(f"{triplet}/nvidia", f"{triplet}/nvidia/current", triplet),
    ):
        for path in sorted((root / folder[1:]).glob("lib*.so.*")):
            if _stem(path.name) in SINCE and _is_64_bit(_real_file(root, f"{folder}/{path.name}")):
                yield path.name, f"{folder}/{path.name}"


def _is_64_bit(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(5) == b"\x7fELF\x02"
    except OSError:
        return False


def _vulkan_files(root: Path) -> Iterator[tuple[str, str]]:
    """NVIDIA's driver files for this processor that a loader would take."""
    for folder in VULKAN_FOLDERS:
        for path in sorted((root / folder[1:]).glob("*nvidia*.json")):
            if re.search(r"\.(i[3-6]86|x86|armv7\w*)\.json$", path.name):
                continue
            try:
                file = _real_file(root, f"{folder}/{path.name}")
                driver = json.loads(Path(file).read_text(encoding="utf-8"))["ICD"]
                if driver["api_version"] and "nvidia" in driver["library_path"]:
                    yield file, driver["library_path"]
            except (OSError, ValueError, KeyError, TypeError):
                continue  # the loader would skip it too; stair-doctor names it


def _real_file(root: Path, path: str) -> str:
    """The file behind a path of the tree, its links followed as if `root` were /; empty without one."""
    at, left, links = root, list(reversed(PurePosixPath(path).parts[1:])), 0
    try:
        while left and links < 40:
            part = left.pop()
            here = at / part if part != ".." else at if at == root else at.parent
            if here.is_symlink():
                links += 1
                target = PurePosixPath(os.readlink(here))
                at = root if target.is_absolute() else at
                left += [name for name in reversed(target.parts) if name != "/"]
            else:
                at = here
        return str(at) if not left and at.is_file() and os.access(at, os.R_OK) else ""
    except OSError:  # a folder that we may not enter
        return ""
