"""The marker of a finished step: what was done, and what it made, by hash.

Takes a Step, hands on its done.json; the next step of a chain verifies it before it starts, so that a
checkpoint that changed between the stages is never trained on by mistake. Both ways of running a plan, on
this machine and on Slurm, go through here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stair.cluster.digest import file_digest
from stair.errors import StairError
from stair.rundir import write_json
from stair.submit.artefacts import record_artefacts, verify_artefacts
from stair.submit.plan import Plan, Step
from stair.submit.snapshot import verify_snapshot


def is_done(step: Step) -> bool:
    """Whether the step, or this member of it, finished earlier with these very settings."""
    return _read(step.done_file).get("settings") == step.digest()


def finish(step: Step, *, seconds: float) -> None:
    """Writes the marker with the hashes of what the step made. Raises StairError on a full disk."""
    made = record_artefacts(step) if step.member is None else {}
    marker = {"settings": step.digest(), "seconds": round(seconds, 1), "exit_code": 0, "artefacts": made}
    write_json(step.done_file, marker)


def verify(plan: Plan, step: Step) -> None:
    """Holds code, images and what earlier steps made against what the plan and their markers say.

    Raises StairError naming the first thing that is not what it was.
    """
    if plan.snapshot is not None:
        verify_snapshot(plan.snapshot, plan.code)
    words = {*step.argv, *step.server}
    for image, digest in plan.images.items():
        if image in words:
            verify_image(Path(image), digest)
    for name in step.needs:
        verify_artefacts(plan.step(name), _read(plan.step(name).done_file).get("artefacts", {}))


def verify_image(image: Path, digest: str) -> None:
    """Raises StairError for an image that is missing or not the one that was submitted."""
    try:
        found = file_digest(image)
    except OSError as error:
        raise StairError(
            f"image {image} cannot be read: {error.strerror}", hint="is its file system mounted here?"
        ) from None
    if found != digest:
        raise StairError(
            f"image {image} is not the one that was submitted: sha256 {found[:12]}…, not {digest[:12]}…",
            hint="restore it, or repeat the submission to use it as it is now",
        )


def _read(marker: Path) -> dict[str, Any]:
    try:
        tree = json.loads(marker.read_text())
    except (OSError, ValueError):
        return {}
    return tree if isinstance(tree, dict) else {}
