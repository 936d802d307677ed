"""What a single step may not ask for, whatever the rest of its chain does.

Takes a step and a profile, raises UsageError or returns. Called by plan.py; looks at no disk.
"""

from __future__ import annotations

from stair.cluster.profile import ClusterProfile
from stair.collect.config import check as check_collection
from stair.errors import UsageError
from stair.submit.job import CollectJob, CommandJob, NamedStep, TrainJob


def check_step(named: NamedStep, profile: ClusterProfile, prefix: str) -> None:
    """Raises UsageError for the first thing about a step that cannot be. `prefix` begins its flags."""
    wanted = named.job.resources
    flag = f"--{prefix}resources"
    if wanted.nodes < 1 or wanted.processes < 1 or wanted.hours <= 0:
        raise UsageError(f"step {named.name} asks for nothing: {wanted}", hint=f"{flag}.processes 1")
    if wanted.nodes > 1 and profile.executor == "local":
        raise UsageError(
            f"'{profile.name}' is one machine; step {named.name} asks for {wanted.nodes} nodes",
            hint="--nodes 1, or --processes N for several processes on this machine",
        )
    for what, have in (("cores", profile.cores), ("GPUs", profile.gpus_per_node or 0)):
        if have and wanted.processes > have:
            raise UsageError(
                f"a node of '{profile.name}' has {have} {what}; step {named.name} asks for "
                f"{wanted.processes} processes",
                hint=f"--processes {have}",
            )
    if wanted.members < 1 or (wanted.members > 1 and named.kind not in ("eval", "command")):
        raise UsageError(
            f"step {named.name} ({named.kind}) cannot be an array of {wanted.members} members",
            hint="members belong to evaluations and commands",
        )
    if wanted.members > 1 and profile.executor == "local" and named.kind == "command":
        raise UsageError(
            f"'{profile.name}' is one machine and runs no arrays; step {named.name} asks for "
            f"{wanted.members} members",
            hint=f"{flag}.members 1, or a Slurm cluster",
        )
    if wanted.nodes > 1 and named.kind in ("eval", "collect", "report"):
        raise UsageError(
            f"step {named.name} ({named.kind}) runs on one node; it asks for {wanted.nodes}",
            hint=f"{flag}.nodes 1",
        )
    if isinstance(named.job, CommandJob) and not named.job.argv:
        raise UsageError(f"step {named.name} has no command", hint="argv: [PROGRAM, WORD, …]")
    if isinstance(named.job, CollectJob):
        check_collection(named.job.collect)
    if isinstance(named.job, TrainJob):
        _check_training(named.name, named.job)


def _check_training(name: str, job: TrainJob) -> None:
    train, processes = job.train, job.resources.nodes * job.resources.processes
    if train.stage == "stage2" and not (train.init_from or train.direct):
        raise UsageError(
            f"step {name}: stage 2 starts from a stage-1 model, and none is named",
            hint="--train.init_from RUN, or --train.direct true for a test of the pipeline",
        )
    parts = processes * train.engine.accumulate
    if train.data.batch_size % parts:
        raise UsageError(
            f"step {name}: a batch of {train.data.batch_size} does not divide among {processes} processes "
            f"× {train.engine.accumulate} passes",
            hint=f"train.data.batch_size {max(1, train.data.batch_size // parts) * parts}",
        )
