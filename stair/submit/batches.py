"""A plan and the facts of a Slurm cluster become batches: the very scripts that sbatch will get. Pure.

Takes a Plan, a ClusterProfile and how long an array may be, hands on the same Plan with its batches. One step
is one batch; an array longer than MaxArraySize is cut into parts that count on where the one before ended,
and stays one step for everybody else.
"""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stair.cluster.profile import ClusterProfile
from stair.rundir import RunDir
from stair.submit.job import Resources
from stair.submit.options import Request, sbatch_options
from stair.submit.plan import Batch, Plan, Step
from stair.submit.script import batch_script, file_pattern


def with_batches(plan: Plan, requests: Sequence[Request], profile: ClusterProfile, *, max_array: int) -> Plan:
    """The plan with a batch for every sbatch, in the order they are sent. `requests` are its steps'."""
    batches: list[Batch] = []
    for step, request in zip(plan.steps, requests, strict=True):
        parts = cut(step.members, max_array)
        for number, (first, count) in enumerate(parts):
            name = step.name if len(parts) == 1 else f"{step.name}.{number + 1}"
            batches.append(
                Batch(
                    name=name,
                    step=step.name,
                    script=_script(plan, step, request, first),
                    after=step.needs,
                    whatever_happens=step.kind == "report",
                    first=first,
                    count=count if step.members > 1 else 0,
                    parallel=math.ceil(profile.slurm.parallel_members / len(parts)),
                )
            )
    return replace(plan, batches=tuple(batches))


def make_request(
    plan: Plan,
    step: Step,
    wanted: Resources,
    profile: ClusterProfile,
    *,
    account: str = "",
    alone: bool = False,
) -> Request:
    """What one step asks of the cluster."""
    slurm = profile.slurm
    return Request(
        step=step.name,
        job_name=f"{Path(plan.run).name}.{step.name}",
        nodes=step.nodes,
        cores=step.cores,
        mem_gb=step.mem_gb,
        gpus=step.gpus,
        gres=slurm.gres,
        hours=step.hours,
        partition=wanted.partition or slurm.partition,
        account=wanted.account or slurm.account or account,
        qos=wanted.qos or slurm.qos,
        constraint=slurm.constraint,
        reservation=slurm.reservation,
        exclude=slurm.exclude,
        members=step.members,
        parallel=slurm.parallel_members,
        warn_s=slurm.warn_s,
        options=slurm.options,
        alone=alone,
    )


def cut(members: int, max_array: int) -> list[tuple[int, int]]:
    """(first member, how many) of each part. An array of n has the indices 0 … n-1, below MaxArraySize."""
    size = max(1, max_array)
    return [(first, min(size, members - first)) for first in range(0, members, size)]


def array_words(batch: Batch, missing: Sequence[int]) -> list[str]:
    """The `--array` of a batch for the members that are to run; empty for a batch that is none."""
    if not batch.count:
        return []
    indices = [member - batch.first for member in missing]
    return [f"--array={ranges(indices)}%{batch.parallel}"]


def ranges(numbers: Sequence[int]) -> str:
    """`0-4,7,9-11`: sorted numbers as Slurm writes them, short enough for a command line."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)


def _script(plan: Plan, step: Step, request: Request, first: int) -> str:
    run = RunDir(Path(plan.run))
    log = f"{file_pattern(str(run.logs))}/slurm/{step.name}-{'%A_%a' if step.members > 1 else '%j'}.log"
    command = [sys.executable, "-m", "stair.submit.supervise", str(run.plan), step.name]
    if step.members > 1:
        command += ["--offset", str(first)]
    environment = {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(plan.snapshot)}
    options = sbatch_options(request, log=log, cwd=plan.run)
    return batch_script(
        options, command, environment=environment, comments=[f"{plan.recipe}: {shlex.quote(step.name)}"]
    )
