"""Vulkan's driver files (ICDs), one by one, become findings. Pure.

A driver file is a small JSON that names a library. What each fault looks like further up is said in `means`,
in the words the loader, vulkaninfo and SAPIEN print, so that a search for the message ends here. The
surprise: some faulty files hurt only themselves, others take every driver with them.
"""

from __future__ import annotations

import errno
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stair.doctor.finding import Check, Facts, Finding, Level
from stair.doctor.findings.linker import install, no_answer
from stair.doctor.findings.purpose import (
    draws,
    image_kind,
    is_cpu_file,
    is_nvidia_file,
    level_of,
    wants_nvidia,
)
from stair.doctor.sheet import rows, section

OLDEST_API = (1, 1)
OURS = "/opt/stair/icd"
"""Where the evaluation image has a driver file for each renderer."""


def good_file(facts: Facts) -> str:
    """A driver file that suits this place, as far as is known: one that works, ours, or a hidden one."""
    suits = is_nvidia_file if wants_nvidia(facts) else is_cpu_file
    for icd in rows(facts, "vulkan", "icds"):
        if icd.get("devices") and suits(icd):
            return str(icd["path"])
    if image_kind(facts) == "eval":
        return f"{OURS}/{'nvidia' if wants_nvidia(facts) else 'lvp'}_icd.json"
    hidden = section(facts, "vulkan").get("icds_elsewhere") or []
    return next((str(path) for path in hidden if suits({"path": path})), "")


def name_file(path: str) -> str:
    """The command that makes every loader read this file alone; empty for no path."""
    path = shlex.quote(path)
    return f"export VK_DRIVER_FILES={path} VK_ICD_FILENAMES={path}" if path != "''" else ""


@dataclass(frozen=True)
class _Fault:
    """One way in which a driver file is of no use."""

    id: str
    about: str
    holds: Callable[[Facts], object]
    seen: Callable[[Facts], str]
    means: str
    cure: Callable[[Facts], str]
    command: Callable[[Facts], str] = lambda icd: ""
    """Where a variable names the file, naming another one comes first."""
    spoils_all: bool = False
    """No other driver works either as long as the loader meets this one."""
    of_library: bool = False
    """The file itself is right."""


def _quoted(icd: Facts) -> str:
    return shlex.quote(str(icd.get("path")))


def _loads(icd: Facts) -> Facts:
    return icd.get("loads") or {}


def _lacks(icd: Facts) -> str:
    """The dependency that the library misses; empty when the library itself does."""
    missing, library = str(_loads(icd).get("missing") or ""), str(icd.get("library") or "")
    return "" if missing.rpartition("/")[2] == library.rpartition("/")[2] else missing


def _other_machine(icd: Facts) -> bool:
    error = str(_loads(icd).get("error") or "")
    return "wrong ELF class" in error


def _ended(icd: Facts) -> str:
    return str(icd.get("failed") or "")


def _how_library(icd: Facts) -> str:
    if is_nvidia_file(icd):
        return (
            "install the graphics part of the same driver version on the host (libnvidia-gl-VERSION), start "
            "Apptainer with --nv, ask for 'graphics' among NVIDIA_DRIVER_CAPABILITIES in Docker"
        )
    # glibc says so of a 64-bit library for another processor too
    there = f"; if {icd['resolved']} is there, it is for another machine" if icd.get("resolved") else ""
    return f"correct library_path, install the driver it belongs to, or name another file{there}"


FAULTS: tuple[_Fault, ...] = (
    _Fault(
        "vulkan.icd-missing",
        "every driver file that a variable names is there",
        lambda icd: icd.get("exists") is False or icd.get("errno") == errno.ENOENT,
        lambda icd: (
            f"{icd['path']} " + ("leads nowhere" if icd.get("exists") else "is named but does not exist")
        ),
        "'loader_get_json: Failed to open JSON file'; ERROR_INCOMPATIBLE_DRIVER when it was the only one",
        lambda icd: "name a file that is there, or bind this one into the container",
    ),
    _Fault(
        "vulkan.icd-unreadable",
        "driver files may be read",
        lambda icd: icd.get("readable") is False,
        lambda icd: f"{icd['path']} cannot be read (errno {icd.get('errno')})",
        "'Failed to open JSON file'; the loader goes on as if it were not there",
        lambda icd: "make it readable for everybody",
        lambda icd: f"chmod a+r {_quoted(icd)}",
    ),
    _Fault(
        "vulkan.icd-empty",
        "driver files have content",
        lambda icd: icd.get("size") == 0,
        lambda icd: f"{icd['path']} is empty",
        "the loader skips it in silence; 'Found no drivers!' when it was the only one",
        lambda icd: "remove it, or install the driver again that it belongs to",
        lambda icd: f"rm {_quoted(icd)}",
    ),
    _Fault(
        "vulkan.icd-broken",
        "driver files are JSON and name a library",
        lambda icd: icd.get("broken"),
        lambda icd: f"{icd['path']} is no driver file: {icd['broken']}",
        "loader 1.3.239 gives up over it, for all drivers: 'createInstanceUnique: ErrorOutOfHostMemory', "
        "vulkaninfo 'ERROR_OUT_OF_HOST_MEMORY'; 1.4.309 says 'Invalid JSON file' and skips it",
        lambda icd: "remove it, or write it again",
        lambda icd: f"rm {_quoted(icd)}",
        spoils_all=True,
    ),
    _Fault(
        "vulkan.icd-no-api-version",
        "driver files have an api_version",
        lambda icd: icd.get("exists") and not icd.get("api_version"),
        lambda icd: f"{icd['path']} has no 'api_version'",
        "\"does not have an 'api_version' field. Skipping ICD JSON.\", then 'Found no drivers!'",
        lambda icd: 'add "api_version": "1.3.0" beside library_path',
        lambda icd: f"""sed -i 's/"library_path"/"api_version": "1.3.0", "library_path"/' {_quoted(icd)}""",
    ),
    _Fault(
        "vulkan.icd-is-loader",
        "no driver file names the loader itself",
        lambda icd: icd.get("is_loader"),
        lambda icd: f"{icd['path']} names the loader itself: {icd.get('library')}",
        "vkCreateInstance calls itself and never returns: simulators hang at their start",
        lambda icd: "write the driver's library into library_path, or name another file",
        spoils_all=True,
    ),
    _Fault(
        "vulkan.icd-architecture",
        "drivers are made for this machine",
        _other_machine,
        lambda icd: (
            f"{icd['path']}: {icd.get('resolved') or icd.get('library')} is made for another machine "
            f"({_loads(icd).get('error')})"
        ),
        "'wrong ELF class', the loader ignores the file: ERROR_INCOMPATIBLE_DRIVER when it was the only one",
        lambda icd: "remove it, or name the file for this machine (on RPM systems nvidia_icd.x86_64.json)",
        lambda icd: f"rm {_quoted(icd)}",
        of_library=True,
    ),
    _Fault(
        "vulkan.icd-dependency",
        "drivers find the libraries they are linked against",
        lambda icd: _loads(icd) and not _loads(icd).get("loads") and _lacks(icd),
        lambda icd: f"{icd['path']}: {icd.get('library')} does not load, since {_lacks(icd)} is missing",
        "'cannot open shared object file', 'Failed loading library associated with ICD JSON', then "
        "ERROR_INCOMPATIBLE_DRIVER",
        lambda icd: f"install what has {_lacks(icd)}, in the image where this is one",
        lambda icd: install((_lacks(icd),)),
        of_library=True,
    ),
    _Fault(
        "vulkan.icd-library",
        "the libraries that driver files name can be opened",
        lambda icd: _loads(icd) and not _loads(icd).get("loads") and not (_hangs(icd) or _crashed(icd)),
        lambda icd: (
            f"{icd['path']}: its library does not load: {_loads(icd).get('error') or icd.get('library')}"
        ),
        "'cannot open shared object file', 'Failed loading library associated with ICD JSON', then 'Found "
        "no drivers!', ERROR_INCOMPATIBLE_DRIVER",
        _how_library,
        of_library=True,
    ),
    _Fault(
        "vulkan.icd-hangs",
        "drivers answer",
        lambda icd: _hangs(icd),
        lambda icd: f"{icd['path']}: {icd.get('library')} gives no answer",
        "simulators hang at their start, 0 % GPU; nvidia-smi may hang too when the GPU is lost",
        lambda icd: (
            "name another file; with a GPU's own driver: drain the node, look for Xid in dmesg, reset the GPU"
        ),
        spoils_all=True,
        of_library=True,
    ),
    _Fault(
        "vulkan.icd-crashes",
        "drivers survive being asked",
        lambda icd: _crashed(icd),
        lambda icd: f"{icd['path']}: {icd.get('library')} ends its process ({_crashed(icd)})",
        "segmentation fault in SapienRenderer() or at the first camera (exit 139)",
        lambda icd: "name another file; install the driver again, all its libraries of one version",
        spoils_all=True,
        of_library=True,
    ),
    _Fault(
        "vulkan.icd-api-version",
        "driver files offer Vulkan 1.1 or later",
        lambda icd: icd.get("api_version") and _numbers(icd["api_version"]) < OLDEST_API,
        lambda icd: f"{icd['path']} says api_version {icd['api_version']}",
        "the device is listed, but SAPIEN reads its features as absent: 'Cannot find a suitable rendering "
        "device', 'Failed to find a supported physical device'",
        lambda icd: 'write "api_version": "1.3.0"',
        lambda icd: f"""sed -i 's/"api_version": *"[^"]*"/"api_version": "1.3.0"/' {_quoted(icd)}""",
    ),
    _Fault(
        "vulkan.icd-no-device",
        "drivers find a device",
        lambda icd: _loads(icd).get("loads") and (_ended(icd).startswith("VK_") or icd.get("devices") == []),
        lambda icd: (
            f"{icd['path']}: {icd.get('library')} loads but offers no device"
            + (f" ({_ended(icd)})" if _ended(icd) else "")
        ),
        "\"Could not get 'vkCreateInstance' via vk_icdGetInstanceProcAddr\", ErrorInitializationFailed or "
        "no device: the hardware is not there, not allowed, or a companion library is missing",
        lambda icd: (
            "check the device nodes and the driver's companion libraries; load nvidia_modeset on the host; "
            "on a machine without that hardware, name another file"
        ),
        of_library=True,
    ),
)
"""In the order in which one hides the next: a file has the first that holds."""


def _hangs(icd: Facts) -> bool:
    return _ended(icd) == "timeout" or no_answer(_loads(icd))


def _crashed(icd: Facts) -> str:
    words = f"{_ended(icd)} {_loads(icd).get('error') or ''}"
    found = re.search(r"signal \d+|SIG[A-Z]+", words)
    return found.group() if found else ""


def fault_of(icd: Facts) -> _Fault | None:
    """What is wrong with a driver file; None when nothing is known to be."""
    return next((fault for fault in FAULTS if fault.holds(icd)), None)


def _icd_findings(facts: Facts, id: str) -> Iterator[Finding]:
    for icd in rows(facts, "vulkan", "icds"):
        fault = fault_of(icd)
        if fault is None or fault.id != id:
            continue
        level = _weight(facts, icd, fault)
        if level is None:
            continue
        command = fault.command(icd)
        if section(facts, "vulkan").get("named_by") and not _repairs(command):
            command = name_file(_other_file(facts, icd)) or command
        yield Finding(id, level, fault.seen(icd), fault.means, fault.cure(icd), command)


def _weight(facts: Facts, icd: Facts, fault: _Fault) -> Level | None:
    """How much a faulty file matters here; None where it is quite normal."""
    level = level_of(facts)
    if fault.spoils_all and not rows(facts, "vulkan", "devices"):
        return level
    others = any(
        other.get("devices") and other.get("path") != icd.get("path") and fault_of(other) is None
        for other in rows(facts, "vulkan", "icds")
    )
    if not others:
        return level
    if is_nvidia_file(icd):
        return level if wants_nvidia(facts) else None
    # Mesa has a file for every kind of hardware: that most find none is as it should be.
    if fault.id == "vulkan.icd-no-device" or (fault.of_library and not is_cpu_file(icd) and not draws(facts)):
        return None
    return "warning" if draws(facts) else "note"


def _repairs(command: str) -> bool:
    """Whether a command makes the named file itself good."""
    return command.startswith(("sed", "chmod", "apt-get"))


def _other_file(facts: Facts, icd: Facts) -> str:
    path = good_file(facts)
    return "" if path == icd.get("path") else path


def _numbers(version: object) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", str(version))[:2])


def _only(id: str) -> Callable[[Facts], Iterator[Finding]]:
    return lambda facts: _icd_findings(facts, id)


_EARLIER = ("vulkan.no-answer", "vulkan.loader", "vulkan.variables", "vulkan.filters")
_BELOW = ("driver.", "image.not-bound", "libraries.", "vulkan.hidden-gpus")
"""What explains that a driver's own library does not load."""

CHECKS: tuple[Check, ...] = tuple(
    Check(fault.id, fault.about, _only(fault.id), (*_EARLIER, *(_BELOW if fault.of_library else ())))
    for fault in FAULTS
)
