"""NVIDIA's driver libraries become findings. Pure.

Takes the entries that the probe opened one by one. The surprise: a container has no driver of its own; every
library of it must be the host's, of the kernel module's very version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stair.doctor.finding import Check, Facts, Finding
from stair.doctor.findings.linker import (
    CORE,
    GRAPHICS,
    absent,
    computing_only,
    graphics_missing,
    known,
    leave_out,
    shadow,
)
from stair.doctor.findings.purpose import (
    contained,
    draws,
    has_nvidia,
    image_kind,
    inside,
    level_of,
    listed,
    numbers,
    wants_nvidia,
)
from stair.doctor.sheet import asked, failed, rows, section

BOUND = "/.singularity.d/libs"
"""Where Apptainer binds the host's driver libraries."""
OPTIONAL = ("libnvidia-allocator", "libnvidia-rtcore")
"""Of the companions: needed for GBM, and for ray tracing."""
GPUCOMP_SINCE = 545


def _no_nv(facts: Facts) -> Iterator[Finding]:
    entries = known(facts)
    names = [name for name in (*CORE, *GRAPHICS) if name in entries]
    if (
        not contained(facts)
        or not has_nvidia(facts)
        or not names
        or not all(absent(entries[name]) for name in names)
    ):
        return
    spared = asked(facts, "gpus_per_node") == 0 or (image_kind(facts) == "eval" and not wants_nvidia(facts))
    yield Finding(
        "libraries.no-nv",
        "note" if spared else "error",
        f"the machine has an NVIDIA driver, the container none of its libraries ({listed(names)})",
        "torch.cuda.is_available() is False; 'libGLX_nvidia.so.0: cannot open shared object file'",
        "start the container with --nv (Docker: --gpus all)",
        "apptainer exec --nv IMAGE ...",
    )


def _capabilities(facts: Facts) -> Iterator[Finding]:
    words = computing_only(facts)
    if not contained(facts) or not words:
        return
    yield Finding(
        "libraries.capabilities",
        level_of(facts),
        f"NVIDIA_DRIVER_CAPABILITIES={words} does not say 'graphics', and {GRAPHICS[0]} is not here",
        "CUDA works, Vulkan does not: 'Failed loading library associated with ICD JSON', "
        "ERROR_INCOMPATIBLE_DRIVER",
        "ask for graphics too, before the container starts (Docker, --nvccli; plain --nv ignores the "
        "variable)",
        "export NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics",
    )


def _baked(facts: Facts) -> Iterator[Finding]:
    driver = section(facts, "driver").get("version")
    if not contained(facts) or not driver:
        return
    other = [entry for entry in of_other_version(facts, driver) if BOUND not in str(entry.get("path"))]
    if not other:
        return
    paths = [str(entry["path"]) for entry in other]
    yield Finding(
        "libraries.baked-driver",
        "error",
        f"{listed(paths, 2)} in the image is of driver {other[0]['version']}, the kernel module of {driver}",
        "NVML 'Driver/library version mismatch', CUDA error 803 or 804, Vulkan finds no device: a driver "
        "that was installed into the image hides the one that --nv brings",
        "remove the driver from the image: it must hold none of libnvidia-*, libcuda.so*, libGLX_nvidia*; "
        "with LD_LIBRARY_PATH put /.singularity.d/libs first",
        f"export LD_LIBRARY_PATH={BOUND}:$LD_LIBRARY_PATH",
    )


def _version(facts: Facts) -> Iterator[Finding]:
    driver = section(facts, "driver").get("version")
    if not driver or _said_of_host(facts, _version):
        return
    other = [
        entry
        for entry in of_other_version(facts, driver)
        if not contained(facts) or BOUND in str(entry.get("path"))
    ]
    if not other:
        return
    names = [str(entry["name"]) for entry in other]
    yield Finding(
        "libraries.driver-version",
        "error",
        f"{listed(names, 2)} is of driver {other[0]['version']}, the kernel module of {driver}",
        "NVML 'Driver/library version mismatch': the driver was updated and its old module is still loaded; "
        "new programs get no GPU, CUDA and Vulkan alike",
        "drain the node and reboot it (or unload and load the nvidia modules when nothing uses them)",
        "scontrol reboot ASAP nextstate=resume $(hostname -s)"
        if section(facts, "slurm").get("found")
        else "",
    )


def _graphics(facts: Facts) -> Iterator[Finding]:
    entries = known(facts)
    if not graphics_missing(entries) or image_kind(facts) == "train" or _said_of_host(facts, _graphics):
        return
    version = section(facts, "driver").get("version") or "VERSION"
    major = str(version).partition(".")[0]
    here = "in the container" if inside(facts) else "on this machine"
    yield Finding(
        "libraries.nvidia-graphics",
        level_of(facts) if inside(facts) and not wants_nvidia(facts) else "error",
        f"NVIDIA's driver {version} is {here} without its graphics part: no {GRAPHICS[0]}",
        "CUDA works, Vulkan does not: 'libGLX_nvidia.so.0: cannot open shared object file', 'Failed loading "
        "library associated with ICD JSON', ERROR_INCOMPATIBLE_DRIVER; the driver was installed for "
        "computing only",
        "install the graphics part of the very same version on the host, then start the container again "
        "with --nv",
        f"apt-get install libnvidia-gl-{major}" if not inside(facts) else "",
    )


def _companions(facts: Facts) -> Iterator[Finding]:
    entries = known(facts)
    if image_kind(facts) == "train" or graphics_missing(entries) or _said_of_host(facts, _companions):
        return
    driver = numbers(section(facts, "driver").get("version"))
    missing = []
    for name, entry in entries.items():
        if not name.startswith("libnvidia-") or name in CORE or entry.get("loads"):
            continue
        if name.startswith("libnvidia-gpucomp") and driver < (GPUCOMP_SINCE,):
            continue
        missing.append(name)
    if not missing:
        return
    needed = [name for name in missing if not name.startswith(OPTIONAL)]
    gpucomp = any(name.startswith("libnvidia-gpucomp") for name in needed)
    yield Finding(
        "libraries.nvidia-companions",
        ("error" if wants_nvidia(facts) or not inside(facts) else level_of(facts)) if needed else "warning",
        f"{listed(needed or missing)} {'is' if len(needed or missing) == 1 else 'are'} not "
        f"{'in the container' if inside(facts) else 'on this machine'}",
        "'driver was unable to open libnvidia-glvkspirv.so', \"Could not get 'vkCreateInstance' via "
        'vk_icdGetInstanceProcAddr for ICD libGLX_nvidia.so.0", or the device cannot be created'
        if needed
        else "only ray tracing (rtcore) and GBM (allocator) need them",
        (
            "Apptainer 1.2.4 and later bind libnvidia-gpucomp; before, add it to nvliblist.conf or bind it"
            if gpucomp
            else "add them to Apptainer's etc/nvliblist.conf, or bind them"
        )
        if inside(facts)
        else "install the whole driver again, all packages of one version",
    )


def _copies(facts: Facts) -> Iterator[Finding]:
    for entry in rows(facts, "libraries"):
        copies = entry.get("copies") or []
        if entry.get("name") != "libcuda.so.1" or len(copies) < 2:
            continue
        odd = next((path for path in copies if "compat" in path or "stubs" in path), "")
        folder = shadow(facts, odd or entry.get("path"))
        yield Finding(
            "libraries.two-libcuda",
            "warning",
            f"libcuda.so.1 is there {len(copies)} times: {listed(copies)}; {entry.get('path')} is taken",
            "a cuda-compat, stubs or module folder in LD_LIBRARY_PATH can hide the driver's own: CUDA error "
            "803 'unsupported display driver / cuda driver combination'",
            f"take {odd or 'the folder that is not the driver'} out of LD_LIBRARY_PATH; --cleanenv keeps "
            "the host's modules out of a container",
            leave_out(facts, folder) if folder and folder != BOUND else "",
        )


def _nvoptix(facts: Facts) -> Iterator[Finding]:
    if not has_nvidia(facts) or not draws(facts) or not wants_nvidia(facts) or "nvoptix" not in facts:
        return
    library = known(facts).get("libnvoptix.so.1", {})
    lacks = [] if facts["nvoptix"] else ["/usr/share/nvidia/nvoptix.bin"]
    if library and not library.get("loads"):
        lacks.append("libnvoptix.so.1")
    if lacks and not failed(facts, "nvoptix"):
        yield Finding(
            "libraries.nvoptix",
            "warning",
            f"{listed(lacks)} {'is' if len(lacks) == 1 else 'are'} not here",
            "only ray-traced tasks (the drawer tasks) need it: 'Failed to denoise OptiX Error: "
            "OPTIX_ERROR_INVALID_VALUE'",
            "install the driver's graphics part on the host, which lacks it as well"
            if section(facts, "around") and not section(facts, "around").get("nvoptix")
            else "Apptainer 1.4.0 and later bind it with --nv; before, bind it by hand",
            "apptainer exec --nv --bind /usr/share/nvidia/nvoptix.bin ..." if inside(facts) else "",
        )


def _said_of_host(facts: Facts, judge: Callable[[Facts], Iterator[Finding]]) -> bool:
    """Whether the machine around a container has the very fault, which need not be told twice."""
    around = facts.get("around")
    return bool(around) and any(True for _ in judge({**around, "role": facts.get("role")}))


def of_other_version(facts: Facts, driver: str) -> list[Facts]:
    """The driver libraries that are of another version than the kernel module, as far as theirs is known.

    A name such as libcuda.so.1 tells no version; cuda-compat is of another one on purpose.
    """
    return [
        entry
        for entry in rows(facts, "libraries")
        if ("nvidia" in str(entry.get("name")) or entry.get("name") == CORE[0])
        and len(numbers(entry.get("version"))) > 1
        and numbers(entry["version"]) != numbers(driver)
        and entry.get("path")
        and "compat" not in str(entry["path"])
    ]


_DRIVER = ("driver.",)
BINDS = ("driver.", "libraries.no-nv", "libraries.capabilities", "image.not-bound")
"""What explains that a container lacks a file of the driver."""

CHECKS: tuple[Check, ...] = (
    Check("libraries.no-nv", "the host's driver libraries are in the container", _no_nv, _DRIVER),
    Check(
        "libraries.capabilities",
        "NVIDIA_DRIVER_CAPABILITIES asks for graphics",
        _capabilities,
        _DRIVER,
    ),
    Check("libraries.baked-driver", "no driver of its own in the image", _baked, _DRIVER),
    Check(
        "libraries.driver-version", "driver libraries and kernel module are of one version", _version, _DRIVER
    ),
    Check("libraries.nvidia-graphics", "the driver has its graphics part", _graphics, BINDS),
    Check(
        "libraries.nvidia-companions",
        "the libraries that NVIDIA's driver opens by its version",
        _companions,
        (*BINDS, "libraries.nvidia-graphics", "libraries.baked-driver", "libraries.driver-version"),
    ),
    Check("libraries.two-libcuda", "one libcuda only", _copies),
    Check(
        "libraries.nvoptix",
        "OptiX's denoiser for ray-traced tasks",
        _nvoptix,
        (*BINDS, "libraries.nvidia-graphics", "libraries.baked-driver"),
    ),
)
