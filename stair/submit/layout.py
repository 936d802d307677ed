"""Where the two sides of an evaluation work: the policy's server and the simulators, on GPUs or on CPU cores.

Takes an EvalJob and a ClusterProfile, hands on a Placing: how many GPUs the step asks for, which side gets
them, and which Vulkan driver draws. On the node, `side_variables` says what each side sees of the GPUs that
Slurm gave. The surprise: CUDA computing and Vulkan drawing on one device has ended in aborts that came and
went, elsewhere; so where two GPUs are asked for, server and simulators get different ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from stair.cluster.profile import ClusterProfile
from stair.errors import StairError, UsageError
from stair.frozen import frozen
from stair.sim.tasks import DRAWING
from stair.submit.job import EvalJob
from stair.submit.plan import Step

Layout = Literal["colocated", "split", "cpu-render"]


@frozen
class Placing:
    """Who works where, once it is decided."""

    layout: Layout
    render: Literal["", "nvidia", "cpu"]
    """Empty for a simulator that draws without a driver."""
    gpus: int
    """Per node, asked of Slurm."""


def is_address(policy: str) -> bool:
    """Whether a policy is somebody else's server, and no model folder. Raises UsageError for neither."""
    if policy.startswith(("ws://", "wss://")):
        return True
    if "://" in policy or re.fullmatch(r"[\w.-]+:\d+", policy):
        raise UsageError(
            f"'{policy}' is neither a model folder nor the address of a policy server",
            hint=f"--policy ws://{policy.rpartition('://')[2]}, or a folder",
        )
    return False


def place_evaluation(job: EvalJob, profile: ClusterProfile, prefix: str = "") -> Placing:
    """Decides where an evaluation works, as slurm/README.md tells it. `prefix` begins the step's flags.

    Raises UsageError for what contradicts itself or what the GPUs do not suffice for.
    """
    served, draws = not is_address(job.policy), job.eval.simulator in DRAWING
    unknown_gpus = profile.gpus_per_node is None and job.resources.gpus < 0
    _refuse_contradictions(job, prefix, served=served, draws=draws)
    gpus = job.resources.gpus if job.resources.gpus >= 0 else _fitting(job, profile, served, draws)
    if job.layout == "split" and gpus < 2:
        raise UsageError(
            f"layout split gives server and simulators different GPUs of a node, and {gpus} "
            f"{'is' if gpus == 1 else 'are'} asked for of '{profile.name}'",
            hint=f"--{prefix}resources.gpus 2, or --{prefix}layout cpu-render",
        )
    seen_unasked = unknown_gpus and profile.executor == "local"
    if gpus == 0 and (job.eval.render == "nvidia" or job.layout == "colocated") and not seen_unasked:
        what = "eval.render nvidia" if job.eval.render == "nvidia" else "layout colocated"
        raise UsageError(
            f"{what} needs a GPU, and none is asked for of '{profile.name}'",
            hint=f"--{prefix}resources.gpus 1, or --{prefix}layout cpu-render without eval.render",
        )
    if not draws:
        return Placing("cpu-render", "", gpus)
    layout = job.layout
    if layout == "auto" and (job.eval.render == "cpu" or (gpus == 0 and job.eval.render != "nvidia")):
        layout = "cpu-render"
    elif layout == "auto":
        layout = "split" if served and gpus > 1 else "colocated"
    return Placing(layout, "cpu" if layout == "cpu-render" else "nvidia", gpus)


def _refuse_contradictions(job: EvalJob, prefix: str, *, served: bool, draws: bool) -> None:
    render, layout = job.eval.render, job.layout
    if layout in ("colocated", "split") and not served:
        raise UsageError(
            f"layout {layout} places a server of our own, and {job.policy} is there already",
            hint=f"leave the layout away, or --{prefix}layout cpu-render",
        )
    if layout in ("colocated", "split") and not draws:
        raise UsageError(
            f"layout {layout} gives the simulators a GPU, and {job.eval.simulator} draws without one",
            hint=f"leave --{prefix}layout away",
        )
    if layout == "cpu-render" and render == "nvidia":
        raise UsageError(
            "layout cpu-render draws on CPU cores, eval.render nvidia on a GPU",
            hint=f"leave --{prefix}layout or --{prefix}eval.render away",
        )
    if layout in ("colocated", "split") and render == "cpu":
        raise UsageError(
            f"layout {layout} gives the simulators a GPU, eval.render cpu draws without one",
            hint=f"--{prefix}layout cpu-render",
        )


def _fitting(job: EvalJob, profile: ClusterProfile, served: bool, draws: bool) -> int:
    """GPUs for a step that names no number: one for each side that can use one, of what a node has."""
    on_gpu = draws and job.layout != "cpu-render" and job.eval.render != "cpu"
    wanted = 2 if job.layout == "split" else int(served or on_gpu)
    return min(wanted, profile.gpus_per_node or 0)


def side_variables(step: Step, argv: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """What one side of an evaluation sees of the GPUs that `given` names: the server `step.server` the first,
    the simulators `step.argv` the others, all, or none. Empty for other steps.

    The simulators are many processes: each takes one thread for its linear algebra. Raises StairError when
    there are fewer GPUs than the layout needs.
    """
    if not step.layout:
        return {}
    server = tuple(argv) == step.server
    variables = {} if server else {"OMP_NUM_THREADS": "1"}
    if step.layout == "cpu-render" and not server:
        variables["CUDA_VISIBLE_DEVICES"] = ""
    if step.layout == "split":
        shown = given.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(step.gpus))))
        devices = [device for device in shown.split(",") if device]
        if len(devices) < 2:
            raise StairError(
                f"layout split needs two GPUs, and CUDA_VISIBLE_DEVICES is '{shown}'",
                hint="--resources.gpus 2, or --layout cpu-render",
            )
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(devices[:1] if server else devices[1:])
    return variables
