"""X11's and glvnd's libraries and EGL's vendor files become findings. Pure.

NVIDIA's own libraries are judged in driver_libraries.py. The surprise: a renderer that never sees a screen
needs X11's client libraries all the same, since SAPIEN and libGLX_nvidia are linked against them.
"""

from __future__ import annotations

from collections.abc import Iterator

from stair.doctor.finding import Check, Facts, Finding
from stair.doctor.findings.driver_libraries import BINDS
from stair.doctor.findings.driver_libraries import CHECKS as DRIVER_CHECKS
from stair.doctor.findings.linker import GRAPHICS, install, known, leave_out, no_answer, shadow
from stair.doctor.findings.purpose import (
    draws,
    has_nvidia,
    image_kind,
    inside,
    level_of,
    listed,
    sapiens,
    wants_nvidia,
)
from stair.doctor.sheet import failed, rows, section

X11 = ("libX11.so.6", "libXext.so.6", "libxcb.so.1")
"""SAPIEN links the first, NVIDIA's libGLX_nvidia all of them."""


def _answer(facts: Facts) -> Iterator[Finding]:
    late = [str(entry.get("name")) for entry in rows(facts, "libraries") if no_answer(entry)]
    what = failed(facts, "libraries") or (f"no answer from {listed(late)}" if late else "")
    if what:
        yield Finding(
            "libraries.no-answer",
            "unknown",
            f"looking for libraries did not come back: {what}",
            "one of them hangs or ends the process that opens it",
            "LD_DEBUG=libs shows the last one that was opened",
        )


def _x11(facts: Facts) -> Iterator[Finding]:
    entries = known(facts)
    missing = [name for name in X11 if name in entries and not entries[name].get("loads")]
    # Where X11 was not looked for by itself, NVIDIA's library tells what it lacks.
    missing += [str(entries[name].get("missing")) for name in GRAPHICS if name in entries]
    missing = [name for name in dict.fromkeys(missing) if name in X11]
    if not missing or not (draws(facts) or (inside(facts) and level_of(facts) != "note")):
        return
    error = str(entries.get(missing[0], {}).get("error") or "")
    folder = shadow(facts, error)
    yield Finding(
        "libraries.x11",
        "error" if "libX11.so.6" in missing or wants_nvidia(facts) else "warning",
        f"{listed(missing)} {'does' if len(missing) == 1 else 'do'} not load{': ' + error if error else ''}",
        "libGLX_nvidia.so.0 cannot be opened without: the loader skips NVIDIA's driver; SAPIEN 3 says "
        "'Failed to find a supported physical device \"cuda:0\"' though CUDA works; without libX11.so.6 "
        "'import sapien' fails",
        f"take {folder} out of LD_LIBRARY_PATH: it hides the system's"
        if folder
        else "install X11's client libraries, in the image where this is one (containers/build makes ours "
        "with them)",
        leave_out(facts, folder) if folder else install(missing),
    )


def _gl(facts: Facts) -> Iterator[Finding]:
    entries = known(facts)
    names = ("libGL.so.1", "libEGL.so.1", "libGLdispatch.so.0")
    missing = [name for name in names if name in entries and not entries[name].get("loads")]
    if not missing or not draws(facts):
        return
    hard = 2 in sapiens(facts) and missing != ["libEGL.so.1"]
    error = str(entries[missing[0]].get("error") or "")
    folder = shadow(facts, error)
    yield Finding(
        "libraries.gl",
        "error" if hard else "warning",
        f"{listed(missing)} {'does' if len(missing) == 1 else 'do'} not load{': ' + error if error else ''}",
        "SAPIEN 2 is linked against it: ImportError 'libGL.so.1: cannot open shared object file'"
        if hard
        else "EGL and OpenGL are off; pure Vulkan does not need them",
        f"take {folder} out of LD_LIBRARY_PATH: it hides the system's" if folder else "install glvnd",
        leave_out(facts, folder) if folder else install(missing),
    )


def _egl_answer(facts: Facts) -> Iterator[Finding]:
    if what := failed(facts, "egl"):
        yield Finding("egl.no-answer", "unknown", f"looking at EGL did not come back: {what}")


def _egl_nvidia(facts: Facts) -> Iterator[Finding]:
    if not section(facts, "egl") or not has_nvidia(facts) or image_kind(facts) == "train":
        return
    if not wants_nvidia(facts) or (not inside(facts) and not draws(facts)):
        return
    if any(
        "nvidia" in f"{vendor.get('path')} {vendor.get('library')}"
        for vendor in rows(facts, "egl", "vendors")
    ):
        return
    yield Finding(
        "egl.no-nvidia-vendor",
        "warning",
        "no NVIDIA file in glvnd/egl_vendor.d",
        "'Failed to find glvnd ICD file'; EGL rendering is off, pure Vulkan does not need it",
        "bind /usr/share/glvnd/egl_vendor.d/10_nvidia.json, or name our image's",
        "export __EGL_VENDOR_LIBRARY_FILENAMES=/opt/stair/icd/10_nvidia.json",
    )


def _egl_vendor(facts: Facts) -> Iterator[Finding]:
    for vendor in rows(facts, "egl", "vendors"):
        loads = vendor.get("loads") or {}
        if not vendor.get("broken") and (not loads or loads.get("loads")):
            continue
        if not draws(facts) or ("nvidia" in str(vendor.get("library")) and not wants_nvidia(facts)):
            continue
        what = (
            vendor.get("broken") or f"{vendor.get('library')}: {loads.get('error') or loads.get('missing')}"
        )
        yield Finding(
            "egl.vendor-broken",
            "warning",
            f"{vendor.get('path')}: {what}",
            "EGL skips this driver; pure Vulkan does not need it",
            f"repair or remove {vendor.get('path')}, or name a good one in __EGL_VENDOR_LIBRARY_FILENAMES",
        )


CHECKS: tuple[Check, ...] = (
    Check("libraries.no-answer", "whether the libraries could be looked at", _answer, ("driver.",)),
    *DRIVER_CHECKS,
    Check("libraries.x11", "X11's client libraries, which libGLX_nvidia and SAPIEN link", _x11),
    Check("libraries.gl", "glvnd's libGL, libEGL and libGLdispatch", _gl),
    Check("egl.no-answer", "whether EGL could be looked at", _egl_answer, ("driver.",)),
    Check("egl.no-nvidia-vendor", "NVIDIA's vendor file for EGL", _egl_nvidia, BINDS),
    Check("egl.vendor-broken", "EGL's vendor files and their libraries", _egl_vendor, ("libraries.",)),
)
