"""What the doctor says of this machine before anything is sent to it.

Takes a plan for the machine that we are on, hands on a Verdict: what is known to be fatal refuses, in the
words of the finding. The surprise: only what the steps need is looked at, since most of what may be wrong
with a machine is no reason to refuse a small simulation. On Slurm the steps run elsewhere: there each node is
looked at when a job has it (health.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stair.cluster.container import runs_inside
from stair.submit.asked import image_file, request_of
from stair.submit.plan import Plan, Step
from stair.submit.preflight.paths import look, refuse_full
from stair.submit.preflight.verdict import Refusal, Verdict

if TYPE_CHECKING:
    from stair.doctor.finding import Facts, Finding

PROBE_S = 3.0
"""What a single probe may take."""
COMPUTING = ("disks", "memory", "shm", "limits")
GRAPHICS = ("driver", "nvml")
DRAWING = ("python", "libraries", "vulkan", "egl")
"""Of this machine's own Vulkan; an image has its own."""


def check_machine(plan: Plan) -> Verdict:
    """Looks at this machine as far as the steps need it, and judges."""
    needed = {section for step in plan.steps for section in sections_of(step)}
    place = look([plan.run])[plan.run]
    if not needed:
        return Verdict(tuple(refuse_full(plan.run, place)))
    from stair.doctor.probe import collect

    return judge_machine(plan, collect(place.parent, timeout_s=PROBE_S, only=sorted(needed)))


def sections_of(step: Step) -> tuple[str, ...]:
    """The parts of a fact sheet that tell whether a step can start; none for what any machine can do."""
    render = request_of(step, {})["render"]
    gpu = step.gpus > 0 or render == "nvidia"
    trains = step.kind == "train" and step.settings["train"]["engine"]["device"] != "cpu"
    inside = runs_inside(step.argv)
    return (
        *(COMPUTING if gpu or trains or render else ()),
        *(GRAPHICS if gpu else ()),
        *(DRAWING if render and not inside else ()),
        *(("apptainer",) if inside else ()),
    )


def judge_machine(plan: Plan, sheet: Facts) -> Verdict:
    """What stands against each step here. Pure but for the image files."""
    from stair.doctor.record import judge
    from stair.doctor.visit import Visit

    found: dict[str, tuple[Step, Finding]] = {}
    for step in plan.steps:
        visit = Visit("", host=sheet, image_file=image_file(plan, step), request=request_of(step, {}))
        for finding in judge(visit):
            found.setdefault(finding.id, (step, finding))
    return Verdict(
        tuple(_refusal(step, finding) for step, finding in found.values() if finding.level == "error"),
    )


def _refusal(step: Step, finding: Finding) -> Refusal:
    from stair.doctor.record import cure_of

    means = f": {finding.means}" if finding.means else ""
    gpus = f" with {step.gpus} GPU{'' if step.gpus == 1 else 's'}" if step.gpus else ""
    possible = f"the doctor sees: {finding.seen}{means}"
    return Refusal(finding.id, step.name, f"this machine{gpus}", possible, cure_of(finding))
