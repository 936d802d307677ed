"""Vulkan's loader, the variables that steer it and the set of files it reads become findings. Pure.

What is wrong with a single driver file is judged in vulkan_icds.py. The surprise: a set of good files may be
wrong as well, when NVIDIA's is not among them, or the CPU's is.
"""

from __future__ import annotations

from collections.abc import Iterator

from stair.doctor.finding import Check, Facts, Finding
from stair.doctor.findings.linker import install, leave_out, no_answer, shadow
from stair.doctor.findings.purpose import (
    chose_cpu,
    draws,
    has_nvidia,
    image_kind,
    inside,
    is_cpu_file,
    is_nvidia_file,
    level_of,
    listed,
    numbers,
    package,
    wants_nvidia,
)
from stair.doctor.findings.vulkan_icds import CHECKS as ICD_CHECKS
from stair.doctor.findings.vulkan_icds import OLDEST_API, OURS, fault_of, good_file, name_file
from stair.doctor.sheet import asked, failed, gpu_nodes, rows, section

KNOWS_DRIVER_FILES = (1, 3, 207)
"""The first loader that reads VK_DRIVER_FILES."""
INCOMPATIBLE = (
    "'vkCreateInstance: Found no drivers!', ERROR_INCOMPATIBLE_DRIVER; SAPIEN 2 says 'Vulkan is "
    "incompatible with your driver' and crashes at its first camera, SAPIEN 3 'createInstanceUnique: "
    "ErrorIncompatibleDriver'"
)


def _answer(facts: Facts) -> Iterator[Finding]:
    loader = section(facts, "vulkan").get("loader") or {}
    if what := failed(facts, "vulkan") or (no_answer(loader) and "the loader gave no answer"):
        yield Finding(
            "vulkan.no-answer",
            "unknown",
            f"looking at Vulkan did not come back: {what}",
            "a driver that hangs or crashes where it is only looked at will do so in a simulator too",
            "VK_LOADER_DEBUG=all vulkaninfo --summary shows how far it gets",
        )


def _loader(facts: Facts) -> Iterator[Finding]:
    loader = section(facts, "vulkan").get("loader") or {}
    if not loader or loader.get("loads") or no_answer(loader) or not draws(facts):
        return
    missing, error = str(loader.get("missing") or ""), loader.get("error") or "it is not there"
    folder = shadow(facts, error)
    if missing:
        cure, command = f"install what has {missing}", install((missing,))
    elif folder:
        cure, command = (
            f"take {folder} out of LD_LIBRARY_PATH: it hides the system's",
            leave_out(facts, folder),
        )
    else:
        cure, command = "install libvulkan1, or use the evaluation image", install(("libvulkan.so.1",))
    yield Finding(
        "vulkan.loader",
        "error",
        f"libvulkan.so.1 does not load: {error}",
        "SAPIEN 2: ImportError 'libvulkan.so.1: cannot open shared object file'; no simulator can draw",
        cure,
        command,
    )


def _loader_old(facts: Facts) -> Iterator[Finding]:
    loader = section(facts, "vulkan").get("loader") or {}
    version = numbers(loader.get("version"))
    if loader.get("loads") and version and version < OLDEST_API:
        yield Finding(
            "vulkan.loader-old",
            level_of(facts),
            f"libvulkan.so.1 at {loader.get('path')} is {loader.get('version')}",
            "SAPIEN asks for Vulkan 1.1 and later: createInstance ErrorIncompatibleDriver",
            "a newer libvulkan1 (1.3 or later), or the evaluation image",
            install(("libvulkan.so.1",)),
        )


def _variables(facts: Facts) -> Iterator[Finding]:
    """VK_DRIVER_FILES wins over VK_ICD_FILENAMES where both are known; old loaders know only the latter."""
    variables = section(facts, "variables")
    new, old = variables.get("VK_DRIVER_FILES") or "", variables.get("VK_ICD_FILENAMES") or ""
    version = (section(facts, "vulkan").get("loader") or {}).get("version")
    is_old = bool(numbers(version)) and numbers(version) < KNOWS_DRIVER_FILES
    if new == old or not new or (not old and not is_old):
        return
    if old:
        seen = f"VK_DRIVER_FILES={new} and VK_ICD_FILENAMES={old} contradict each other"
        means = "the first wins, the second is ignored; loaders before 1.3.207 do the opposite"
    else:
        seen = f"VK_DRIVER_FILES={new} is set, VK_ICD_FILENAMES is not, and the loader is {version}"
        means = "loaders before 1.3.207 ignore it, and SAPIEN 2 fills the other with its own list"
    works = bool(rows(facts, "vulkan", "devices"))
    yield Finding(
        "vulkan.variables",
        "warning" if works else level_of(facts),
        seen,
        means,
        "set both to the same value, one file that works",
        name_file(good_file(facts) or new),
    )


def _filters(facts: Facts) -> Iterator[Finding]:
    variables = section(facts, "variables")
    names = ("VK_LOADER_DRIVERS_SELECT", "VK_LOADER_DRIVERS_DISABLE")
    found = [f"{name}={variables[name]}" for name in names if variables.get(name)]
    icds = rows(facts, "vulkan", "icds")
    # The filters act on the list, so that a list of faulty files is not their work.
    if not found or rows(facts, "vulkan", "devices") or (icds and all(map(fault_of, icds))):
        return
    yield Finding(
        "vulkan.filters",
        level_of(facts),
        f"{listed(found)}, and no device is left",
        "'Driver ... ignored because not selected by env var', then 'Found no drivers!'",
        "unset them; name one file in VK_DRIVER_FILES instead",
        f"unset {' '.join(names)}",
    )


def _subset(facts: Facts) -> Iterator[Finding]:
    """Some of the machine's GPUs are hidden from the job, and Vulkan stumbles over them."""
    nodes = gpu_nodes(facts)
    denied = [str(node["path"]) for node in nodes if node.get("errno") in (1, 13)]
    code = (section(facts, "vulkan").get("instance") or {}).get("name")
    stumbles = code == "VK_ERROR_INITIALIZATION_FAILED" or any(
        "INITIALIZATION_FAILED" in str(icd.get("failed")) for icd in rows(facts, "vulkan", "icds")
    )
    if not denied or len(denied) == len(nodes) or not stumbles:
        return
    yield Finding(
        "vulkan.hidden-gpus",
        level_of(facts),
        f"the job may not open {listed(denied)}, and Vulkan fails with VK_ERROR_INITIALIZATION_FAILED",
        "'enumeratePhysicalDevices: ErrorInitializationFailed' when a job has only some of a node's GPUs: "
        "NVIDIA's Vulkan opens all of them (a fault of older drivers)",
        "ask for the whole node, or a newer driver",
        "sbatch --exclusive ...",
    )


def _no_icd(facts: Facts) -> Iterator[Finding]:
    if "icds" not in section(facts, "vulkan") or rows(facts, "vulkan", "icds") or not draws(facts):
        return
    hidden = section(facts, "vulkan").get("icds_elsewhere") or []
    named = section(facts, "vulkan").get("named_by")
    yield Finding(
        "vulkan.no-icd",
        level_of(facts),
        f"{named} names no Vulkan driver file" if named else "no Vulkan driver file in any known folder",
        INCOMPATIBLE,
        f"name one that is there: {listed(hidden)}"
        if hidden
        else "install the driver's graphics part (libnvidia-gl-VERSION) or, for the CPU, "
        "mesa-vulkan-drivers; or use the evaluation image, which has both files",
        name_file(good_file(facts)) or "apt-get install mesa-vulkan-drivers",
    )


def _hidden(facts: Facts) -> Iterator[Finding]:
    """NVIDIA's file is on this machine, but not among those that are read."""
    icds = rows(facts, "vulkan", "icds")
    hidden = [path for path in section(facts, "vulkan").get("icds_elsewhere") or [] if "nvidia" in str(path)]
    named = section(facts, "vulkan").get("named_by")
    if not hidden or not has_nvidia(facts) or any(map(is_nvidia_file, icds)) or image_kind(facts) == "train":
        return
    if asked(facts, "render") == "cpu" or not (draws(facts) or inside(facts)):
        return
    yield Finding(
        "vulkan.nvidia-icd-hidden",
        "error" if wants_nvidia(facts) else "warning",
        f"{named or 'the search'} hides {listed(hidden)}",
        "the GPU does not draw: rendering falls back to llvmpipe on the CPU, in silence",
        "name NVIDIA's file, or keep it so where the CPU is to draw",
        name_file(next((path for path in hidden if str(path).startswith(OURS)), str(hidden[0]))),
    )


def _place(facts: Facts) -> Iterator[Finding]:
    """SAPIEN 2.2.2 looks into /usr/share/vulkan/icd.d only."""
    if package(facts, "sapien")[:1] != (2,) or section(facts, "variables").get("VK_ICD_FILENAMES"):
        return
    icds = rows(facts, "vulkan", "icds")
    usual = [icd for icd in icds if str(icd.get("path")).startswith("/usr/share/vulkan/icd.d/")]
    unusual = [icd for icd in icds if is_nvidia_file(icd) and icd not in usual]
    if not usual or not unusual or any(map(is_nvidia_file, usual)) or not has_nvidia(facts):
        return
    path = str(unusual[0]["path"])
    yield Finding(
        "vulkan.nvidia-icd-place",
        "error" if wants_nvidia(facts) else "warning",
        f"NVIDIA's driver file is {path}; /usr/share/vulkan/icd.d has {len(usual)} others and "
        "VK_ICD_FILENAMES is unset",
        "SAPIEN 2.2.2 sets VK_ICD_FILENAMES to every file in /usr/share/vulkan/icd.d, which hides this one: "
        "it draws on llvmpipe or says 'Cannot find a suitable rendering device', though vulkaninfo shows "
        "the GPU",
        "name the file before Python starts",
        name_file(path),
    )


def _no_nvidia(facts: Facts) -> Iterator[Finding]:
    """With an NVIDIA GPU: its driver file must be visible too."""
    if "icds" not in section(facts, "vulkan") or not has_nvidia(facts) or image_kind(facts) == "train":
        return
    icds = rows(facts, "vulkan", "icds")
    hidden = section(facts, "vulkan").get("icds_elsewhere") or []
    if any(map(is_nvidia_file, icds)) or any("nvidia" in str(path) for path in hidden):
        return
    if chose_cpu(facts) or not (draws(facts) or inside(facts)) or asked(facts, "render") == "cpu":
        return
    yield Finding(
        "vulkan.no-nvidia-icd",
        "error" if wants_nvidia(facts) else "warning",
        "there is an NVIDIA GPU, but no nvidia_icd.json among the Vulkan driver files",
        "rendering falls back to llvmpipe on the CPU, or finds no device at all: ErrorIncompatibleDriver, "
        "'Failed to find Vulkan ICD file'",
        "Apptainer 1.4.0 and later bind /usr/share/vulkan/icd.d/nvidia_icd.json with --nv; bind the host's "
        "file where it lies elsewhere (/etc/vulkan/icd.d, nvidia_icd.x86_64.json), or use our evaluation "
        "image, which has its own",
        name_file(f"{OURS}/nvidia_icd.json") if image_kind(facts) == "eval" else "",
    )


def _two(facts: Facts) -> Iterator[Finding]:
    icds = rows(facts, "vulkan", "icds")
    nvidia, cpu = list(filter(is_nvidia_file, icds)), list(filter(is_cpu_file, icds))
    if not nvidia or not cpu or not wants_nvidia(facts) or not draws(facts):
        return
    yield Finding(
        "vulkan.two-icds",
        "warning",
        f"the loader reads {nvidia[0]['path']} and {cpu[0]['path']}",
        "where the GPU's driver fails, SAPIEN takes the CPU without a word: evaluations get slow, not wrong",
        "name NVIDIA's file alone",
        name_file(str(nvidia[0]["path"])),
    )


def _layers(facts: Facts) -> Iterator[Finding]:
    for layer in rows(facts, "vulkan", "layers"):
        loads = layer.get("loads") or {}
        if layer.get("kind") != "implicit" or (not layer.get("broken") and (not loads or loads.get("loads"))):
            continue
        what = layer.get("broken") or f"{layer.get('library')}: {loads.get('error') or loads.get('missing')}"
        yield Finding(
            "vulkan.layer",
            "warning" if draws(facts) else "note",
            f"the layer {layer.get('name') or layer.get('path')} does not load: {what}",
            "the loader warns at every start and goes on without; NVIDIA's Optimus layer names "
            "libnvidia-present, which --nv does not bind",
            f"harmless for drawing without a screen; removing {layer.get('path')} silences it",
        )


_EARLIER = ("vulkan.no-answer", "vulkan.loader", "vulkan.variables")

CHECKS: tuple[Check, ...] = (
    Check(
        "vulkan.no-answer", "whether Vulkan could be looked at", _answer, ("driver.", "libraries.no-answer")
    ),
    Check("vulkan.loader", "libvulkan.so.1, which finds the drivers", _loader),
    Check("vulkan.loader-old", "the loader knows Vulkan 1.1", _loader_old),
    Check("vulkan.variables", "VK_DRIVER_FILES and VK_ICD_FILENAMES agree", _variables, ("vulkan.loader",)),
    Check("vulkan.filters", "VK_LOADER_DRIVERS_* leave a driver", _filters, ("vulkan.loader",)),
    Check(
        "vulkan.no-icd",
        "there is a Vulkan driver file",
        _no_icd,
        (*_EARLIER, "vulkan.filters", "image.icd-not-bound"),
    ),
    Check("vulkan.hidden-gpus", "Vulkan does not stumble over the GPUs of other jobs", _subset, _EARLIER),
    *ICD_CHECKS,
    Check("vulkan.nvidia-icd-hidden", "no variable hides NVIDIA's driver file", _hidden, _EARLIER),
    Check("vulkan.nvidia-icd-place", "SAPIEN 2 finds NVIDIA's driver file", _place, _EARLIER),
    Check(
        "vulkan.no-nvidia-icd",
        "with an NVIDIA GPU, its driver file",
        _no_nvidia,
        (
            *_EARLIER,
            "driver.",
            "image.icd-not-bound",
            "libraries.no-nv",
            "libraries.nvidia-graphics",
            "libraries.capabilities",
        ),
    ),
    Check("vulkan.two-icds", "one driver only, so that the CPU cannot step in", _two),
    Check("vulkan.layer", "implicit layers load", _layers),
)
