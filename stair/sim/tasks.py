"""Which tasks each simulator has, and the grid points an evaluation visits; no simulator is imported.

Takes names and a range of layouts, hands on GridPoints in a fixed order. Pure, so that a plan can list
its episodes on a machine that could never run them.
"""

from __future__ import annotations

from dataclasses import dataclass

from stair.errors import UsageError, unknown
from stair.policy.contract import ActionConvention
from stair.sim.contract import GridPoint, Robot

TABLETOP = Robot(ActionConvention(), unnorm_key="tabletop", ensemble_horizon=2)
WIDOWX = Robot(ActionConvention(), unnorm_key="bridge_orig", ensemble_horizon=7)
GOOGLE = Robot(
    ActionConvention(control_hz=3.0),
    unnorm_key="fractal20220817_data",
    ensemble_horizon=2,
    sticky_gripper=10,
)
"""Horizons and the sticky gripper as CogACT evaluates; its policies predict absolute openings for both."""


@dataclass(frozen=True)
class Task:
    """What is fixed about a task before any episode of it."""

    robot: Robot
    step_limit: int
    variants: tuple[str, ...] = ("",)
    """The looks or wordings it comes in; the empty one is the plain task."""
    layouts: int | None = None
    """How many different starts exist; None: any number."""


TASKS: dict[str, dict[str, Task]] = {
    "tabletop": {
        "tabletop_put_block": Task(TABLETOP, step_limit=60, variants=("", "swapped")),
    },
}
"""Simulator → task → what is fixed about it."""


def find_task(simulator: str, task: str) -> Task:
    """Looks a task up. Raises UsageError with the known names."""
    if simulator not in TASKS:
        raise unknown("simulator", simulator, TASKS)
    if task not in TASKS[simulator]:
        raise unknown(f"task of {simulator}", task, TASKS[simulator])
    return TASKS[simulator][task]


def check_point(simulator: str, point: GridPoint) -> Task:
    """The task of a grid point. Raises UsageError when task, variant or layout do not exist."""
    task = find_task(simulator, point.task)
    if point.variant not in task.variants:
        known = [name or "(none)" for name in task.variants]
        raise unknown(f"variant of {point.task}", point.variant, known)
    if point.episode_id < 0 or (task.layouts is not None and point.episode_id >= task.layouts):
        last = "" if task.layouts is None else f" to {task.layouts - 1}"
        raise UsageError(
            f"{point.task} has no layout {point.episode_id}", hint=f"layouts are numbered from 0{last}"
        )
    return task


def points(simulator: str, task: str, first: int, count: int, variant: str = "") -> list[GridPoint]:
    """`count` grid points of a task, layouts `first`, `first + 1`, ... Raises UsageError as above."""
    if count < 0:
        raise UsageError(f"cannot visit {count} layouts", hint="ask for at least one episode")
    visited = [GridPoint(task, first + k, variant) for k in range(count)]
    for point in visited[:1] + visited[-1:]:
        check_point(simulator, point)
    find_task(simulator, task)
    return visited
