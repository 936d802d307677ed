"""Starts of images become findings. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from stair.doctor.deep.measured import unmeasured
from stair.doctor.finding import Facts, Finding
from stair.doctor.sheet import rows, section

SLOW_START_S = 5.0
"""An image on a local disk, mounted by the kernel or by squashfuse, starts in about half a second."""
NETWORK = ("nfs", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb", "fuse", "afs", "panfs", "weka")
"""How the types of file systems begin that lie beyond a network."""


def judge_container_start(facts: Facts) -> Iterator[Finding]:
    id = "deep.container-start"
    yield from unmeasured(id, facts, "container", "no image was started", "--image")
    for fact in rows(section(facts, "deep"), "container"):
        image, kind = str(fact.get("image")), str(fact.get("file_system") or "")
        if fact.get("ok") is None:
            yield Finding(id, "unknown", f"{image} was not started: {fact.get('error')}")
        elif not fact.get("ok"):
            yield Finding(
                id,
                "error",
                f"{image} does not start: {fact.get('error')}",
                "no step can run in it here",
                "what Apptainer says with --debug names the step that fails",
                f"apptainer --debug exec {image} true",
            )
        elif fact.get("median", 0.0) > SLOW_START_S:
            far = kind.startswith(NETWORK)
            yield Finding(
                id,
                "warning",
                f"{image} takes {fact['median']:.1f} s to start (the first time {fact['first']:.1f} s)"
                + (f", from {kind}" if kind else ""),
                "the image is read over a network file system"
                if far
                else "unpacked at every start (no squashfuse, no setuid mount)? Or is its disk slow",
                "copy it to a disk of the node (or install squashfuse, or use an extracted sandbox): "
                "every step and every worker starts it",
                f"cp {image} /tmp/" if far else "apptainer --verbose exec IMAGE true",
            )
