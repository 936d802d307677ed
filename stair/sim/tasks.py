"""Which tasks each simulator has, and the grid points an evaluation visits; no simulator is imported.

Takes names and a range of layouts, hands on GridPoints in a fixed order. Pure and standard library only, so
that a plan can list its episodes on a machine that could never run them. The surprise: for a task that has
no plain look (the Google robot's tasks), the empty variant means its first one, and the point carries that
one's name, so that no start has two keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from stair.errors import UsageError, unknown
from stair.policy.contract import ActionConvention
from stair.sim import simpler_grid
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
PANDA = Robot(ActionConvention(control_hz=20.0), unnorm_key="maniskill_panda", ensemble_horizon=2)


@dataclass(frozen=True)
class Task:
    """What is fixed about a task before any episode of it."""

    robot: Robot
    step_limit: int
    variants: tuple[str, ...] = ("",)
    """The looks or wordings it comes in, the plain one first."""
    layouts: int | None = None
    """How many different starts each variant has; None: any number."""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names for several variants at once, e.g. `visual-matching`."""
    first: int = 0
    """The layout at which an evaluation begins that is told none."""
    ray_traced: bool = False
    """Whether only an NVIDIA GPU can draw it."""
    least_steps: int = 1
    """In fewer steps nobody can succeed."""
    note: str = ""
    """What a reader of its numbers must know."""


_DRAWN = "SimplerEnv published no grid for it: object and place are drawn from the layout's number"
_NOTES = {
    **dict.fromkeys(simpler_grid.ENDLESS, _DRAWN),
    "google_robot_move_near": "published numbers are of MoveNearGoogleBakedTexInScene-v0, which is played; "
    "simpler_env.make gives v1 by this name: google_robot_move_near_v1",
}


def _simpler(name: str) -> Task:
    """A row of SimplerEnv's, from its grid."""
    looks = simpler_grid.looks(name)
    variants = tuple(variant for several in looks.values() for variant in several)
    first = simpler_grid.find_start(name, variants[0], 0)
    layouts = None
    if name in simpler_grid.GRIDS:
        every = simpler_grid.starts(name, "visual-matching")
        layouts = sum(start.look == first.look for start in every)
    return Task(
        WIDOWX if name.startswith("widowx") else GOOGLE,
        first.step_limit,
        variants,
        layouts,
        {str(setting): names for setting, names in looks.items()},
        ray_traced="shader_dir" in first.make,
        # The environment turns from opening the drawer to placing the object after 100 steps.
        least_steps=101 if first.env.startswith("PlaceIntoClosed") else 1,
        note=_NOTES.get(name, ""),
    )


_ONE_LOOK = {"visual-matching": ("",)}
TASKS: dict[str, dict[str, Task]] = {
    "tabletop": {
        # Demonstrations are made of the layouts below 100000: those from there on were never trained on.
        "tabletop_put_block": Task(TABLETOP, 60, variants=("", "swapped"), first=100_000),
    },
    "simpler": {name: _simpler(name) for name in [*simpler_grid.GRIDS, *simpler_grid.ENDLESS]},
    "maniskill3": {
        "widowx_spoon_on_towel": Task(WIDOWX, 60, layouts=24, groups=_ONE_LOOK),
        "widowx_carrot_on_plate": Task(WIDOWX, 60, layouts=24, groups=_ONE_LOOK),
        "widowx_stack_cube": Task(WIDOWX, 60, layouts=24, groups=_ONE_LOOK),
        "widowx_put_eggplant_in_basket": Task(
            WIDOWX,
            120,
            layouts=64,
            groups=_ONE_LOOK,
            note="ManiSkill's port has 64 layouts, SimplerEnv's original 24 other ones",
        ),
        # No assets are needed for these two: the layout's number is the seed.
        "maniskill_pick_cube": Task(PANDA, 50),
        "maniskill_push_cube": Task(PANDA, 50),
    },
}
"""Simulator → task → what is fixed about it."""

DRAWING = ("simpler", "maniskill3")
"""Simulators that draw with Vulkan; tabletop needs no driver."""

EPISODES_A_PROCESS = {"simpler": 40, "maniskill3": 100}
"""Simulator → episodes after which its process is replaced before its renderer has eaten the memory; others
need none. Chosen so that a new scene (10-20 s) costs a few percent."""


def find_task(simulator: str, task: str) -> Task:
    """Looks a task up. Raises UsageError with the known names."""
    if simulator not in TASKS:
        raise unknown("simulator", simulator, TASKS)
    if task not in TASKS[simulator]:
        raise unknown(f"task of {simulator}", task, TASKS[simulator])
    return TASKS[simulator][task]


def find_variants(simulator: str, task: str, wanted: Iterable[str]) -> tuple[str, ...]:
    """The variants of `task` that `wanted` names one by one or in groups, each once.

    Empty names the plain look. A group that only other tasks of the simulator have is passed over, so that
    one list serves several tasks; what no task knows raises UsageError, and so does nothing left.
    """
    known, found = find_task(simulator, task), {}
    others = {group for other in TASKS[simulator].values() for group in other.groups}
    for name in wanted:
        if name in known.groups:
            found.update(dict.fromkeys(known.groups[name]))
        elif name in known.variants:
            found[name] = None
        elif name == "":
            found[known.variants[0]] = None
        elif name not in others:
            raise unknown(f"variant of {task}", name, [*filter(None, known.variants), *known.groups])
    if not found:
        raise UsageError(
            f"{task} comes in none of the variants {', '.join(wanted) or '(none named)'}",
            hint=f"known: {', '.join([*known.groups, *filter(None, known.variants)]) or 'the plain one'}",
        )
    return tuple(found)


def check_point(simulator: str, point: GridPoint) -> Task:
    """The task of a grid point. Raises UsageError when task, variant or layout do not exist."""
    task = find_task(simulator, point.task)
    if point.variant not in task.variants:
        known = [name or "(none)" for name in task.variants]
        raise unknown(f"variant of {point.task}", point.variant, known)
    if point.episode_id < 0 or (task.layouts is not None and point.episode_id >= task.layouts):
        hint = "layouts are numbered from 0"
        if task.layouts is not None:  # SimplerEnv would silently play number modulo count
            hint += f" to {task.layouts - 1}; to play them again, choose another --seed and another --run"
        raise UsageError(f"{point.task} has no layout {point.episode_id}", hint=hint)
    return task


def points(simulator: str, task: str, first: int, count: int, variant: str = "") -> list[GridPoint]:
    """At most `count` grid points of one variant of a task: layouts `first`, `first + 1`, ... to its last.

    first -1: where the task says; count 0: all there are. Raises UsageError as above, and when all are
    asked for of a task whose layouts never end.
    """
    known = find_task(simulator, task)
    if count < 0:
        raise UsageError(f"cannot visit {count} layouts", hint="ask for at least one episode")
    if count == 0 and known.layouts is None:
        raise UsageError(
            f"nothing to evaluate: all layouts of {task}, which never end", hint="say how many --episodes"
        )
    (name,) = find_variants(simulator, task, [variant])
    begin = known.first if first == -1 else first
    check_point(simulator, GridPoint(task, begin, name))
    left = count if known.layouts is None else known.layouts - begin
    return [GridPoint(task, begin + k, name) for k in range(min(count or left, left))]
