"""An evaluation as it is asked for becomes the one that will be run: who draws where, how many share it.

Takes an EvalJob and a ClusterProfile, hands on the EvalJob with everything decided that was left open, and in
words what a person should know about it. Every episode is listed here, without a simulator: unknown tasks,
variants and layouts are refused before anything is sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from stair.cluster.profile import ClusterProfile
from stair.errors import UsageError
from stair.sim.contract import GridPoint
from stair.sim.tasks import DRAWING, find_task
from stair.submit.job import Chain, EvalJob
from stair.submit.layout import is_address, place_evaluation


def settle(job: EvalJob, profile: ClusterProfile, prefix: str = "") -> EvalJob:
    """The job with its layout, its driver, its GPUs and the number of its members decided.

    `prefix` is what the step's flags begin with, such as `eval.` in a chain. Raises UsageError for tasks that
    do not exist and for what layout.py refuses.
    """
    points = episodes_of(job)
    placing = place_evaluation(job, profile, prefix)
    traced = [task for task in job.eval.tasks if find_task(job.eval.simulator, task).ray_traced]
    if placing.render == "cpu" and traced:
        raise UsageError(
            f"{traced[0]} is ray-traced, which takes an NVIDIA GPU; this evaluation draws on CPU cores",
            hint=f"--{prefix}resources.gpus 1, or other --{prefix}eval.tasks",
        )
    members = 1 if profile.executor == "local" else min(job.resources.members, len(points))
    return replace(
        job,
        layout=placing.layout,
        eval=replace(job.eval, render=placing.render),
        resources=replace(job.resources, gpus=placing.gpus, members=members),
    )


def episodes_of(job: EvalJob) -> list[GridPoint]:
    """All that the members play together. Raises UsageError for what does not exist."""
    from stair.evaluate.points import all_points

    return all_points(replace(job.eval, shard=0, shards=1, render=""))  # who draws is judged in `settle`


def describe(chain: Chain, profile: ClusterProfile) -> Iterator[str]:
    """A line for each evaluation of a chain: how much is played, by how many, and who draws."""
    for name, _, job in _evaluations(chain, profile):
        points = episodes_of(job)
        tasks, looks = len({p.task for p in points}), len({(p.task, p.variant) for p in points})
        members = job.resources.members
        most = -(-len(points) // members)
        yield (
            f"step {name}: {_counted(len(points), 'episode')} of {_counted(tasks, 'task')}"
            + (f" in {looks} variants" if looks > tasks else "")
            + f" in {job.eval.simulator}, {_counted(members, 'member')}"
            + (f" of {_counted(most, 'episode')} at most" if members > 1 else "")
            + (f"; {_drawing(job)}" if job.eval.render else "")
            + (f"; policy at {job.policy}" if is_address(job.policy) else "")
        )


def notes(chain: Chain, profile: ClusterProfile) -> Iterator[str]:
    """What may not be as a person expects it."""
    from stair.evaluate.points import remarks

    for name, asked, job in _evaluations(chain, profile):
        if asked.resources.members > job.resources.members:
            why = (
                f"'{profile.name}' is one machine"
                if profile.executor == "local"
                else f"there are {_counted(job.resources.members, 'episode')}"
            )
            yield (
                f"step {name}: {asked.resources.members} members were asked for, {why}: "
                f"{job.resources.members} will play"
            )
        if job.layout == "colocated" and job.eval.simulator in DRAWING and not is_address(job.policy):
            yield (
                f"step {name}: policy and simulators share a GPU; where episodes abort now and then: "
                "--layout split with two GPUs"
            )
        if job.eval.render == "cpu" and profile.gpus_per_node != 0 and asked.layout == "auto":
            prefix = "" if chain.alone else f"{name}."
            yield f"step {name}: simulators draw on CPU cores; --{prefix}resources.gpus 1 draws on a GPU"
        if is_address(job.policy) and profile.executor == "slurm" and _is_loopback(job.policy):
            yield f"step {name}: {job.policy} is on every node that node itself, not this machine"
        own = all(task.startswith("maniskill_") for task in job.eval.tasks)  # made of what the package brings
        if job.eval.simulator in DRAWING and not own and not job.eval.assets and profile.container.eval_image:
            yield f"step {name}: no eval.assets are named; unless the image has some, no episode will begin"
        yield from (f"step {name}: {remark}" for remark in remarks(job.eval))


def _evaluations(chain: Chain, profile: ClusterProfile) -> Iterator[tuple[str, EvalJob, EvalJob]]:
    """Name, job as asked for, job as settled."""
    for step in chain.steps:
        if isinstance(step.job, EvalJob):
            yield step.name, step.job, settle(step.job, profile, "" if chain.alone else f"{step.name}.")


def _drawing(job: EvalJob) -> str:
    driver = {"nvidia": "on the GPU", "cpu": "on CPU cores"}[job.eval.render]
    return f"drawn {driver} (layout {job.layout})"


def _is_loopback(address: str) -> bool:
    host = address.partition("://")[2]
    return host.startswith(("127.", "localhost", "[::1]"))


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")
