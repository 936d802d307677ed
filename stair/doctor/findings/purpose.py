"""What a place is there for, as far as its facts tell.

Takes a fact sheet together with its visit's request and image file, hands on whether anything is to be drawn
there, by which driver, and thereby how bad it is that it cannot. The surprise: a host whose images draw need
not draw itself, and a training image never does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stair.doctor.finding import Facts, Level
from stair.doctor.sheet import asked, gpu_nodes, rows, section

CPU_DRIVERS = ("llvmpipe", "lavapipe", "swiftshader")
CPU_FILES = ("lvp", "swiftshader")
"""How the driver files of those are called."""


def inside(facts: Facts) -> bool:
    """Whether this is the image of a visit. A host may be a container too: `contained`."""
    return facts["side"] == "image" if "side" in facts else contained(facts)


def contained(facts: Facts) -> bool:
    """Whether these facts come from within any container."""
    return bool(facts.get("inside"))


def image_kind(facts: Facts) -> str:
    """`train` or `eval` of our own images; empty elsewhere."""
    return str((section(facts, "image").get("labels") or {}).get("stair.kind", ""))


def draws(facts: Facts) -> bool:
    """Whether a simulator is to draw here."""
    if inside(facts):
        return image_kind(facts) == "eval" or (image_kind(facts) != "train" and bool(sapiens(facts)))
    if facts.get("image_file"):
        return False
    return bool(asked(facts, "render")) or bool(sapiens(facts))


def level_of(facts: Facts) -> Level:
    """How bad it is that nothing can be drawn here."""
    if draws(facts):
        return "error"
    return "warning" if has_nvidia(facts) and image_kind(facts) != "train" else "note"


def sapiens(facts: Facts) -> frozenset[int]:
    """Which generations of SAPIEN run here: that of this Python, and both in a full evaluation image."""
    if image_kind(facts) == "eval":
        full = (section(facts, "image").get("labels") or {}).get("stair.variant") == "full"
        return frozenset((2, 3) if full else (3,))
    version = package(facts, "sapien")
    return frozenset(version[:1])


def package(facts: Facts, name: str) -> tuple[int, ...]:
    """(2, 2, 2) of an installed package; empty when it is not there."""
    return numbers((section(facts, "python").get("packages") or {}).get(name))


def has_nvidia(facts: Facts) -> bool:
    """Whether an NVIDIA driver or GPU shows itself, working or not."""
    driver = section(facts, "driver")
    return bool(
        driver.get("version")
        or driver.get("gpus")
        or any(node.get("errno") != 2 for node in gpu_nodes(facts))
    )


def wants_nvidia(facts: Facts) -> bool:
    """Whether a GPU of NVIDIA is to draw here: it is there, and nobody chose the CPU."""
    render = asked(facts, "render")
    return render == "nvidia" or (has_nvidia(facts) and render != "cpu" and not chose_cpu(facts))


def chose_cpu(facts: Facts) -> bool:
    """Whether the variables name drivers for the CPU only, as our image does when nobody says otherwise."""
    icds = rows(facts, "vulkan", "icds")
    named = section(facts, "vulkan").get("named_by")
    return bool(named and icds) and all(is_cpu_file(icd) for icd in icds)


def is_nvidia_file(icd: Facts) -> bool:
    """Whether a driver file is NVIDIA's, by its name or by what it loads."""
    return _told(icd, ("nvidia",))


def is_cpu_file(icd: Facts) -> bool:
    """Whether a driver file draws on the CPU."""
    return _told(icd, CPU_FILES) or _all_cpu(icd.get("devices"))


def is_cpu(device: Facts) -> bool:
    """Whether a Vulkan device is a CPU."""
    return device.get("type") == "cpu" or _is_cpu_name(str(device.get("name", "")))


def numbers(version: Any) -> tuple[int, ...]:
    """(570, 124, 6) of 570.124.06; what is no number ends it."""
    found: list[int] = []
    for part in str(version or "").split("+")[0].split("-")[0].split("."):
        if not part.isdigit():
            break
        found.append(int(part))
    return tuple(found)


def listed(words: Iterable[str], most: int = 4) -> str:
    """Words for a sentence: the first few, and how many more there are."""
    words = list(words)
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def _told(icd: Facts, marks: tuple[str, ...]) -> bool:
    words = (str(icd.get("path", "")).rpartition("/")[2], str(icd.get("library") or "").rpartition("/")[2])
    return any(mark in word for mark in marks for word in words)


def _all_cpu(devices: Any) -> bool:
    return isinstance(devices, list) and bool(devices) and all(_is_cpu_name(str(name)) for name in devices)


def _is_cpu_name(name: str) -> bool:
    return any(driver in name.lower() for driver in CPU_DRIVERS)
