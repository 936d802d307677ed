"""The grid points that an evaluation asks for, and the part of them that falls to one share.

Takes an EvalConfig, hands on GridPoints in a fixed order: tasks, then variants, then layouts. Pure and
standard library only: a plan lists with it what an array job will play. The surprise: shares are contiguous
stretches, not dealt out one by one, because a SAPIEN scene costs 10-20 s to build: n shares of s scenes
build n + s - 1 of them together, where shares dealt out would build n times s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from stair.errors import UsageError
from stair.evaluate.config import EvalConfig
from stair.sim.contract import GridPoint
from stair.sim.tasks import find_task, find_variants, points

T = TypeVar("T")


def all_points(config: EvalConfig) -> list[GridPoint]:
    """Every grid point of all shares. Raises UsageError for what does not exist or cannot be meant."""
    if not config.tasks or config.episodes < 0:
        raise UsageError("nothing to evaluate", hint="name --tasks, and --episodes 0 for all layouts")
    if config.control == "chunk" and config.execute < 1:
        raise UsageError(f"cannot run {config.execute} actions of a chunk", hint="--execute 4")
    if config.max_steps < 0:
        raise UsageError(f"an episode cannot have {config.max_steps} steps", hint="0 is the task's own limit")
    if not 0 <= config.shard < config.shards:
        raise UsageError(f"there is no share {config.shard} of {config.shards}", hint="--shard 0 --shards 1")
    for name in config.tasks:
        _check_task(config, name)
    wanted = ("swapped",) if config.swap_goal else config.variants
    return [
        point
        for task in dict.fromkeys(config.tasks)
        for variant in find_variants(config.simulator, task, wanted)
        for point in points(config.simulator, task, config.first_episode, config.episodes, variant)
    ]


def _check_task(config: EvalConfig, name: str) -> None:
    """Raises UsageError for a task in which nothing could come of these settings."""
    task = find_task(config.simulator, name)
    if config.render == "cpu" and task.ray_traced:
        raise UsageError(
            f"{name} is ray-traced, which no CPU does in useful time",
            hint="--render nvidia on nodes with GPUs, or leave it out",
        )
    if 0 < config.max_steps < task.least_steps:
        raise UsageError(
            f"nobody can succeed in {name} within {config.max_steps} steps: its second part begins after "
            f"{task.least_steps - 1}",
            hint="leave --max_steps at 0 for the published limits",
        )


def share(items: Sequence[T], shard: int, shards: int) -> list[T]:
    """Stretch number `shard` of `shards` stretches that differ in length by at most one."""
    return list(items[len(items) * shard // shards : len(items) * (shard + 1) // shards])


def remarks(config: EvalConfig) -> list[str]:
    """What to say about a wish that can be met, but perhaps not as it was meant."""
    said = []
    for name in dict.fromkeys(config.tasks):
        task = find_task(config.simulator, name)
        if task.layouts is not None and config.episodes > task.layouts:
            said.append(
                f"{name} has {task.layouts} layouts, fewer than the {config.episodes} asked for: each is "
                "played once (for repeats, choose another --seed and another --run)"
            )
        if task.note:
            said.append(f"{name}: {task.note}")
    return said
