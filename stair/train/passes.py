"""A global batch, cut into the backward passes of every process; pure."""

from __future__ import annotations

import dataclasses
from typing import Any

from stair.data.sample import Batch
from stair.errors import UsageError
from stair.train.config import TrainConfig
from stair.train.world import World


def rows_per_pass(config: TrainConfig, world: World) -> int:
    """Samples of one backward pass in one process. Raises UsageError when the batch does not divide."""
    batch, accumulate = config.data.batch_size, config.engine.accumulate
    rows, left = divmod(batch, world.size * accumulate)
    if left or not rows:
        raise UsageError(
            f"data.batch_size {batch} is not divisible by {world.size} processes x {accumulate} passes "
            "(engine.accumulate)",
            hint=f"--data.batch-size {max(1, rows) * world.size * accumulate}",
        )
    return rows


def pass_slices(config: TrainConfig, world: World) -> list[tuple[slice, slice]]:
    """For each backward pass of a step: its rows in this process's batch, and in the global batch."""
    rows = rows_per_pass(config, world)
    offset = world.rank * rows * config.engine.accumulate
    starts = [turn * rows for turn in range(config.engine.accumulate)]
    return [(slice(s, s + rows), slice(offset + s, offset + s + rows)) for s in starts]


def rows_of(batch: Batch, rows: slice) -> Batch:
    """Some samples of a batch."""
    sliced: dict[str, Any] = {}
    for field in dataclasses.fields(batch):
        value = getattr(batch, field.name)
        sliced[field.name] = None if value is None else value[rows]
    return Batch(**sliced)
