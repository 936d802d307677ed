"""Whose fault a finding is, and what that makes of a step that failed. Pure.

Takes what the doctor found on the node of a failed step, hands on the step's Ending in the doctor's words:
the node's fault is worth another try elsewhere, the request's or the image's comes back wherever it runs. The
surprise: a finding counts only where the step needs what is broken. A GPU that has fallen off its bus
explains no failure of a step that asked for none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from stair.doctor.finding import Finding
from stair.doctor.record import cure_of, in_words
from stair.errors import WRONG_USE
from stair.submit.verdict import LOST_PEER, Ending

Blamed = Literal["node", "request", "image", "nobody"]

BLAMED: dict[str, Blamed | Literal["image or node", "image or nobody"]] = {
    "apptainer.": "node",
    "cpu.": "nobody",
    "cuda.": "node",
    "cuda.hidden": "nobody",
    "deep.": "nobody",
    "disk.": "nobody",  # mostly a folder that all nodes share
    "disk.broken": "node",
    "disk.disconnected": "node",
    "disk.stale": "node",
    "disks.": "nobody",
    "driver.": "node",
    "egl.": "image or node",
    "egl.no-nvidia-vendor": "node",
    "gpu.": "node",
    "gpu.mig": "request",
    "image.": "image",
    "image.icd-not-bound": "node",  # other hosts have it where --nv looks
    "image.missing": "node",  # this and the like: it was there, and whole, when the job was sent
    "image.no-answer": "nobody",
    "image.not-bound": "node",
    "image.not-sif": "node",
    "image.truncated": "node",
    "image.unreadable": "node",
    "libraries.": "node",
    "libraries.baked-driver": "image",
    "libraries.capabilities": "nobody",
    "libraries.gl": "image or node",
    "libraries.no-nv": "nobody",
    "libraries.x11": "image or node",
    "limits.": "nobody",  # of the shell that submitted, or of slurmd
    "login.": "nobody",
    "memory.": "nobody",  # the job's own, or eaten up by others
    "network.": "nobody",
    "nodes.": "nobody",
    "packages.": "image or nobody",
    "probe.": "nobody",
    "python.": "nobody",
    "request.": "request",
    "request.gpus": "node",  # Slurm says it gave them
    "shm.": "nobody",
    "slurm.": "nobody",
    "slurm.job-gpus": "node",
    "system.": "nobody",
    "vulkan.": "node",
    "vulkan.display": "nobody",
    "vulkan.filters": "nobody",
    "vulkan.loader": "image or node",
    "vulkan.no-cpu-device": "image or node",
    "vulkan.no-ray-tracing": "request",
    "vulkan.variables": "nobody",
}
"""By id, or by the beginning of many: the longest that fits counts. `image or …`: the image's fault where
it was seen in one."""

COMPUTES = ("cuda.", "driver.", "gpu.", "request.gpus", "slurm.job-gpus")
"""What a step needs that asked for GPUs, or draws on one."""
DRAWS = ("egl.", "libraries.", "packages.", "vulkan.")
"""What a step needs that draws."""
CONTAINS = ("apptainer.", "image.")
"""What a step needs that runs in an image."""
KILLS = ("disk.", "limits.", "memory.", "shm.")
"""What may get a process killed that cannot say why."""


def blame(finding: Finding) -> Blamed:
    """Who would have to change for this not to come again."""
    fitting = [start for start in BLAMED if finding.id.startswith(start)]
    found = BLAMED[max(fitting, key=len)] if fitting else "nobody"
    if found == "image or node":
        return "image" if finding.place.startswith("image") else "node"
    if found == "image or nobody":
        return "image" if finding.place.startswith("image") else "nobody"
    return found


def concerns(finding: Finding, request: Mapping[str, Any]) -> bool:
    """Whether a step with that request needs what is broken."""
    if finding.id.startswith(DRAWS):
        return bool(request["render"])
    if finding.id.startswith(CONTAINS):
        return bool(request["kind"])
    return (
        not finding.id.startswith(COMPUTES) or request["gpus_per_node"] > 0 or request["render"] == "nvidia"
    )


def is_explained(ending: Ending) -> bool:
    """Whether there is nothing for the doctor to say: it went well, was used wrongly, or lost its peers."""
    return ending.verdict in ("done", "checkpointed", "cancelled") or ending.code in (WRONG_USE, LOST_PEER)


def explain(ending: Ending, findings: Sequence[Finding], request: Mapping[str, Any]) -> Ending:
    """The ending of a failed step by what was found on its node, in the order of cause."""
    if is_explained(ending):
        return ending
    killed = ending.cause == "crash"
    for one in findings:
        blamed = blame(one)
        if one.level != "error" or not concerns(one, request):
            continue
        if blamed == "nobody" and not (killed and one.id.startswith(KILLS)):
            continue
        told = replace(ending, why=f"{ending.why}; {in_words(one)}", hint=cure_of(one) or ending.hint)
        if blamed == "node":
            return replace(told, verdict="retryable", cause="node")
        return told if blamed == "nobody" else replace(told, verdict="fatal", cause="")
    return ending
