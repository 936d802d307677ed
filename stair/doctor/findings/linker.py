"""What the dynamic linker said of each library.

Takes a fact sheet, hands on its entries by name. The surprise: a library that gave no answer in time is not
known to be missing; on a busy machine that is what happens.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from stair.doctor.finding import Facts
from stair.doctor.sheet import rows, section

CORE = ("libcuda.so.1", "libnvidia-ml.so.1")
GRAPHICS = ("libGLX_nvidia.so.0", "libEGL_nvidia.so.0")
PACKAGES = {
    "libX11.so.6": "libx11-6",
    "libXext.so.6": "libxext6",
    "libxcb.so.1": "libxcb1",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libGLdispatch.so.0": "libglvnd0",
    "libGLX.so.0": "libglx0",
    "libvulkan.so.1": "libvulkan1",
    "libLLVM.so.19.1": "libllvm19",
    "libdrm.so.2": "libdrm2",
    "libexpat.so.1": "libexpat1",
    "libwayland-client.so.0": "libwayland-client0",
    "libstdc++.so.6": "libstdc++6",
}
"""Debian's package of each library that was ever missing."""


def known(facts: Facts) -> dict[str, Facts]:
    """What is known of each library, by its name; those that gave no answer are not known."""
    return {str(entry.get("name")): entry for entry in rows(facts, "libraries") if not no_answer(entry)}


def no_answer(entry: Facts) -> bool:
    """Whether opening a library took too long, which says little about it."""
    return entry.get("loads") is False and str(entry.get("error")).startswith("timeout")


def absent(entry: Facts) -> bool:
    """Whether the library itself is not there, in contrast to one that cannot be opened."""
    return (
        not entry.get("loads")
        and not entry.get("path")
        and entry.get("missing") in (None, "", entry.get("name"))
    )


def install(names: Sequence[str]) -> str:
    """The command that brings libraries; empty where one of them is in no package known here."""
    found = [PACKAGES.get(name, "") for name in names]
    return f"apt-get install {' '.join(found)}" if found and all(found) else ""


def computing_only(facts: Facts) -> str:
    """NVIDIA_DRIVER_CAPABILITIES where it kept the graphics part out; else empty."""
    words = str(section(facts, "variables").get("NVIDIA_DRIVER_CAPABILITIES") or "")
    asks = {"all", "graphics"} & {word.strip() for word in words.split(",")}
    return words if not asks and graphics_missing(known(facts)) else ""


def graphics_missing(entries: dict[str, Facts]) -> bool:
    """The computing half of the driver is there, the graphics half is not."""
    return (
        any(entries.get(name, {}).get("loads") for name in CORE)
        and GRAPHICS[0] in entries
        and absent(entries[GRAPHICS[0]])
    )


def shadow(facts: Facts, words: object) -> str:
    """The folder of LD_LIBRARY_PATH that a path or a message speaks of; empty when it is none."""
    return next((folder for folder in _path(facts) if f"{folder.rstrip('/')}/" in str(words or "")), "")


def leave_out(facts: Facts, folder: str) -> str:
    """The command that takes a folder out of LD_LIBRARY_PATH, and nothing else: --nv needs the rest."""
    rest = [each for each in _path(facts) if each != folder]
    return f"export LD_LIBRARY_PATH={shlex.quote(':'.join(rest))}" if rest else "unset LD_LIBRARY_PATH"


def _path(facts: Facts) -> list[str]:
    folders = str(section(facts, "variables").get("LD_LIBRARY_PATH") or "").split(":")
    return [folder for folder in folders if folder]
