"""What a step asks for, as the doctor is told it.

Takes a plan and one of its steps, hands on the `request` and the `image_file` of a doctor's visit. Light,
because every dry run comes by here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from stair.cluster.container import runs_inside
from stair.cluster.image import inspect_image
from stair.sim.tasks import DRAWING
from stair.submit.plan import Plan, Step


def request_of(step: Step, environment: Mapping[str, str]) -> dict[str, Any]:
    """What a step was promised, as the doctor compares it with what there is."""
    asked = step.settings.get("eval", {})
    draws = asked.get("simulator") in DRAWING
    return {
        "gpus_per_node": step.gpus,
        "cpus": step.cores,
        "memory_mb": round(step.mem_gb * 1024),  # as Slurm counts, in whose variables it is found again
        "minutes": round(60 * step.hours),
        "kind": ("eval" if step.kind == "eval" else "train") if runs_inside(step.argv) else "",
        "render": (asked.get("render") or "nvidia") if draws else "",
        "layout": step.layout,
        "minutes_left": _minutes_left(environment),
    }


def image_file(plan: Plan, step: Step) -> dict[str, Any] | None:
    """What is known of the file that a step runs in; None where it runs on the host."""
    images = [word for word in step.argv if word in plan.images]
    return asdict(inspect_image(images[0])) if images else None


def _minutes_left(environment: Mapping[str, str]) -> int | None:
    """Until the time limit, where Slurm tells (22.05 does not)."""
    ends = environment.get("SLURM_JOB_END_TIME", "")
    return int((float(ends) - time.time()) / 60) if ends.isdigit() else None
