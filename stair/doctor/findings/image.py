"""The image file, and what of the host did not come through the container's wall, become findings. Pure.

Takes the host's facts with what was found out about the image file, or both sides' sheets. The surprise:
`--nv` binds only what its list names, under the very paths it names; drivers put their files elsewhere too.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import fields

from stair.cluster.image import ImageFacts, check_image
from stair.doctor.finding import Check, Comparison, Facts, Finding
from stair.doctor.findings.driver_libraries import BOUND, OPTIONAL, of_other_version
from stair.doctor.findings.linker import CORE, absent, computing_only, known
from stair.doctor.findings.purpose import (
    draws,
    has_nvidia,
    image_kind,
    inside,
    is_nvidia_file,
    listed,
    numbers,
    wants_nvidia,
)
from stair.doctor.sheet import asked, failed, rows, section

ABOUT = {
    "image.missing": "the image file is there",
    "image.unreadable": "the image file may be read",
    "image.truncated": "the image file is whole",
    "image.not-sif": "the image file is a SIF",
    "image.architecture": "the image is for this machine",
    "image.kind": "a step's image is of its kind, train or eval",
    "image.python": "the image's Python runs STAIR",
    "image.variant": "steps with GPUs have an image with CUDA",
    "image.unknown": "the image tells what it is",
}
"""What `check_image` of stair/cluster/image.py judges, with a dot for its first dash."""
BINDS_FILES, BINDS_GPUCOMP = (1, 4), (1, 2, 4)
"""The Apptainer whose --nv binds driver files (JSON, nvoptix.bin), and libnvidia-gpucomp."""
LISTED = "/usr/share/vulkan/icd.d/nvidia_icd.json"
"""The only Vulkan driver file that --nv knows."""


def image_facts(facts: Facts) -> ImageFacts | None:
    """What was found about the image file; None where none was looked at."""
    found = section(facts, "image_file")
    if not found.get("path"):
        return None
    names = {field.name for field in fields(ImageFacts)}  # pyright: ignore[reportArgumentType]
    return ImageFacts(**{name: value for name, value in found.items() if name in names and value is not None})


def _file(id: str) -> Callable[[Facts], Iterator[Finding]]:
    def judge(facts: Facts) -> Iterator[Finding]:
        image = image_facts(facts)
        if image is None:
            return
        problems = check_image(
            image,
            # Where the host is not known, no machine is wrong.
            machine=section(facts, "system").get("machine") or image.architecture,
            kind=asked(facts, "kind") or image.kind or "eval",
            gpus=asked(facts, "kind", image.kind) == "train" and bool(asked(facts, "gpus_per_node")),
        )
        for problem in problems:
            if problem.id.replace("-", ".", 1) == id:
                level = "error" if problem.certain else "unknown"
                yield Finding(id, level, problem.what, problem.why, problem.cure, _build(id, image, facts))

    return judge


def _build(id: str, image: ImageFacts, facts: Facts) -> str:
    """The command that makes the right image, where making one is the cure."""
    if id == "image.unreadable":
        return f"ls -l {shlex.quote(image.path)}"
    if id in ("image.unknown", "image.truncated"):
        return ""
    build = f"containers/build {asked(facts, 'kind') or image.kind or 'eval'}"
    if id == "image.missing":
        return build
    # The default variant is the right one where this one is not.
    keeps = image.variant and id not in ("image.variant", "image.kind")
    return f"{build} --variant {image.variant} --force" if keeps else f"{build} --force"


def _stale(facts: Facts) -> Iterator[Finding]:
    image, expected = image_facts(facts), section(facts, "image_file").get("expected_lock")
    found = image.labels.get("stair.lock_sha256", "") if image else ""
    if image is None or not expected or not found or found == expected:
        return
    yield Finding(
        "image.stale-lock",
        "warning",
        f"image {image.path} was made from other locks ({found[:12]}, of "
        f"{image.labels.get('stair.date', 'no date')}) than this checkout has ({expected[:12]})",
        "packages inside are of other versions than the code was tested with; results may differ from those "
        "of a new image, imports may fail",
        "build it again, or check out the commit it was made of "
        f"({image.labels.get('stair.commit', 'not known')[:12]})",
        _build("image.stale-lock", image, facts),
    )


def _answer(facts: Facts) -> Iterator[Finding]:
    if what := failed(facts, "image"):
        yield Finding(
            "image.no-answer", "unknown", f"looking at the image from inside did not come back: {what}"
        )


def _not_bound(host: Facts, image: Facts) -> Iterator[Finding]:
    """Driver libraries that the host has and the container lacks."""
    here = known(image)
    if image_kind(image) == "train" or not any(here.get(name, {}).get("loads") for name in CORE):
        return
    driver = section(host, "driver").get("version") or ""
    if computing_only(image) or of_other_version(image, driver):
        return  # libraries.capabilities and libraries.baked-driver say it
    lacking = []
    for entry in rows(host, "libraries"):
        name = str(entry.get("name"))
        ours = here.get(name)
        if not ("nvidia" in name or name == CORE[0]) or name.startswith((*OPTIONAL, "libnvoptix")):
            continue
        if entry.get("loads") and ours is not None and absent(ours):
            lacking.append(entry)
    if not lacking:
        return
    names = [str(entry["name"]) for entry in lacking]
    version = section(host, "apptainer").get("version")
    old = numbers(version) and numbers(version) < BINDS_GPUCOMP and any("gpucomp" in name for name in names)
    yield Finding(
        "image.not-bound",
        "error" if wants_nvidia(image) and draws(image) else "warning",
        f"the host has {listed(names)}, the container does not"
        + (f" (Apptainer {version} does not know libnvidia-gpucomp yet)" if old else ""),
        "'driver was unable to open ...', \"Could not get 'vkCreateInstance' via vk_icdGetInstanceProcAddr "
        "for ICD "
        'libGLX_nvidia.so.0", or vkCreateDevice fails',
        "Apptainer 1.2.4 or later; or add them to its etc/nvliblist.conf; or bind them"
        if old
        else "add them to Apptainer's etc/nvliblist.conf, or bind them",
        "apptainer exec --nv "
        + " ".join(f"--bind {entry.get('path')}:{BOUND}/{entry['name']}" for entry in lacking)
        + " IMAGE ...",
    )


def _icd_not_bound(host: Facts, image: Facts) -> Iterator[Finding]:
    """A Vulkan driver file of NVIDIA that the host has and the container lacks."""
    if not inside(image) or not draws(image) or not has_nvidia(host) or computing_only(image):
        return
    if "icds" not in section(image, "vulkan") or asked(image, "render") == "cpu" or _nvidia_files(image):
        return
    theirs = _nvidia_files(host)
    if not theirs:
        return
    path = LISTED if LISTED in theirs else theirs[0]
    version = section(host, "apptainer").get("version")
    if path != LISTED:
        why = f"--nv knows {LISTED} only"
    elif numbers(version) and numbers(version) < BINDS_FILES:
        why = f"Apptainer {version} does not bind it (1.4.0 and later do)"
    else:
        why = "it was not bound: was --nv given?"
    yield Finding(
        "image.icd-not-bound",
        "error" if wants_nvidia(image) else "warning",
        f"the host's Vulkan driver file {path} is not in the container: {why}",
        "the CPU draws in silence, or 'Failed to find Vulkan ICD file', ErrorIncompatibleDriver",
        "bind it and name it, or use our evaluation image, which has its own in /opt/stair/icd",
        f"apptainer exec --nv --bind {path}:{LISTED} --env "
        f"VK_DRIVER_FILES={LISTED},VK_ICD_FILENAMES={LISTED} IMAGE ...",
    )


def _nvidia_files(facts: Facts) -> list[str]:
    """NVIDIA's Vulkan driver files, those first that the loader reads."""
    read = [
        str(icd["path"]) for icd in rows(facts, "vulkan", "icds") if is_nvidia_file(icd) and icd.get("exists")
    ]
    hidden = section(facts, "vulkan").get("icds_elsewhere") or []
    return read + [str(path) for path in hidden if is_nvidia_file({"path": path})]


_FILE = (
    "image.missing",
    "image.unreadable",
    "image.truncated",
    "image.not-sif",
    "image.architecture",
    "image.kind",
)

CHECKS: tuple[Check, ...] = (
    *(Check(id, about, _file(id), where="host") for id, about in ABOUT.items()),
    Check("image.stale-lock", "the image is of this checkout's locks", _stale, _FILE, "host"),
    Check("image.no-answer", "whether the image could be looked at from inside", _answer),
)
COMPARISONS: tuple[Comparison, ...] = (
    Comparison(
        "image.not-bound",
        "the host's driver libraries are in the container",
        "host-image",
        _not_bound,
        ("driver.", "libraries.nvidia-graphics"),
    ),
    Comparison(
        "image.icd-not-bound",
        "the host's Vulkan driver file is in the container",
        "host-image",
        _icd_not_bound,
        ("driver.",),
    ),
)
