"""Looks become tasks and tasks become the published tables' averages, as SIMPLER's protocol says.

Takes records and their TaskSummaries (one per task and look), hands on Means: over episodes within a look,
then over looks, then over the tasks of a suite, each step counting its parts alike. What the protocol has and
the records do not is named with the mean, because the mean of three tasks out of four is not the suite's
number. The surprise: opening and closing drawers share one column of the Google robot's table.

Source: tools/calc_metrics_evaluation_videos.py and the tables of SimplerEnv (Li et al. 2024, arXiv
2405.05941).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from stair.evaluate.episodes import EpisodeRecord, TaskSummary
from stair.evaluate.numbers.rates import Rate, mean_of, over_looks
from stair.sim import simpler_grid

IN_WORDS = {"visual-matching": "visual matching", "variant-aggregation": "variant aggregation"}

LAST_SETTING = "variant-aggregation"


@dataclass(frozen=True)
class Mean:
    """A line of the table: a task over its looks, a suite over its tasks, or everything there is."""

    name: str
    kind: Literal["task", "suite", "all"]
    setting: str
    """visual-matching, variant-aggregation, or empty where looks are not averaged."""
    last: Rate
    """Success at the last step."""
    ever: Rate
    parts: tuple[str, ...]
    """What was averaged: variants of a task, columns of a suite, tasks."""
    missing: tuple[str, ...] = ()
    """What the protocol averages and the records do not have."""
    task: str = ""
    """Of a task's mean."""
    variants: tuple[str, ...] = ()
    """On record, of a task's mean; `parts` has those with a finished episode."""


@dataclass(frozen=True)
class Suite:
    """A published average."""

    name: str
    setting: str
    columns: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]
    """Name, and the sets of tasks it may be made of: the first that is on record counts."""


_DRAWERS = ("top_drawer", "middle_drawer", "bottom_drawer")
_GOOGLE: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    (
        "pick coke can",
        (
            ("google_robot_pick_coke_can",),
            tuple(f"google_robot_pick_{pose}_coke_can" for pose in ("horizontal", "vertical", "standing")),
        ),
    ),
    ("move near", (("google_robot_move_near",), ("google_robot_move_near_v0",))),
    (
        "open/close drawer",
        (
            ("google_robot_open_drawer", "google_robot_close_drawer"),
            tuple(f"google_robot_{verb}_{which}" for verb in ("open", "close") for which in _DRAWERS),
        ),
    ),
    ("place apple in drawer", (("google_robot_place_apple_in_closed_top_drawer",),)),
)
SUITES = (
    Suite(
        "WidowX, visual matching",
        "visual-matching",
        (
            ("spoon on towel", (("widowx_spoon_on_towel",),)),
            ("carrot on plate", (("widowx_carrot_on_plate",),)),
            ("stack cube", (("widowx_stack_cube",),)),
            ("eggplant in basket", (("widowx_put_eggplant_in_basket",),)),
        ),
    ),
    Suite("Google robot, visual matching", "visual-matching", _GOOGLE),
    Suite("Google robot, variant aggregation", "variant-aggregation", _GOOGLE),
)


def setting_of(task: str, variant: str) -> str:
    """Which of the protocol's averages a look belongs to; empty for what SIMPLER does not have."""
    if task not in simpler_grid.GRIDS:
        return ""
    return next((setting for setting, looks in simpler_grid.looks(task).items() if variant in looks), "")


def means_of_tasks(tasks: Iterable[TaskSummary], records: Iterable[EpisodeRecord]) -> list[Mean]:
    """One per task and setting; a variant outside the protocol stands for itself. Visual matching comes
    before variant aggregation, otherwise they are in the order given."""
    groups: dict[tuple[str, str, str], list[TaskSummary]] = {}
    for task in tasks:
        setting = setting_of(task.task, task.variant)
        groups.setdefault((task.task, setting, "" if setting else task.variant), []).append(task)
    by_look: dict[tuple[str, str], list[EpisodeRecord]] = {}
    for record in records:
        by_look.setdefault((record.task, record.variant), []).append(record)
    return [
        _task_mean(name, setting, group, [r for look in group for r in by_look[name, look.variant]])
        for (name, setting, _), group in sorted(groups.items(), key=lambda one: one[0][1] == LAST_SETTING)
    ]


def _task_mean(
    name: str, setting: str, group: Sequence[TaskSummary], records: Iterable[EpisodeRecord]
) -> Mean:
    wanted = simpler_grid.looks(name)[setting] if setting else ()  # type: ignore[index]
    found = [task.variant for task in group if task.episodes]
    last: dict[int, list[bool]] = {}
    ever: dict[int, list[bool]] = {}
    for record in records:
        if not record.error:
            last.setdefault(record.episode_id, []).append(record.success)
            ever.setdefault(record.episode_id, []).append(record.success_ever)
    return Mean(
        name=f"{name} ({IN_WORDS[setting]})" if len(wanted) > 1 else group[0].name,
        kind="task",
        setting=setting,
        last=over_looks([task.last for task in group], last.values()),
        ever=over_looks([task.ever for task in group], ever.values()),
        parts=tuple(found),
        missing=_missing(name, setting, group),
        task=name,
        variants=tuple(task.variant for task in group),
    )


def _missing(name: str, setting: str, group: Sequence[TaskSummary]) -> tuple[str, ...]:
    """Looks of the grid without a finished episode, and how many starts of the others have none."""
    if not setting:
        return ()
    counts = Counter(
        simpler_grid.variant_name(setting, start.look)  # type: ignore[arg-type]
        for start in simpler_grid.starts(name, setting)  # type: ignore[arg-type]
    )
    played = {task.variant: task.layouts for task in group}
    return tuple(
        f"{count - played[look]} of {count} starts of {look}".removesuffix(" of ")
        if played.get(look)
        else look
        for look, count in counts.items()
        if played.get(look, 0) < count
    )


def means_of_suites(tasks: Iterable[Mean]) -> list[Mean]:
    """Every suite of which at least one task has a finished episode, out of the tasks' means."""
    known = {(mean.setting, mean.task): mean for mean in tasks if mean.setting and mean.last.known}
    found = [
        _suite_mean(
            suite, {task: mean for (setting, task), mean in known.items() if setting == suite.setting}
        )
        for suite in SUITES
    ]
    return [mean for mean in found if mean.last.known]


def _suite_mean(suite: Suite, known: Mapping[str, Mean]) -> Mean:
    last, ever, names, missing = [], [], [], []
    for column, choices in suite.columns:
        chosen = max(choices, key=lambda choice: sum(name in known for name in choice) / len(choice))
        present = [known[name] for name in chosen if name in known]
        missing += [name for name in chosen if name not in known]
        missing += [f"{name} {look}" for name in chosen if name in known for look in known[name].missing]
        if present:
            names.append(column)
            last.append(mean_of(mean.last for mean in present))
            ever.append(mean_of(mean.ever for mean in present))
    return Mean(
        suite.name, "suite", suite.setting, mean_of(last), mean_of(ever), tuple(names), tuple(missing)
    )


def overall(means: Sequence[Mean]) -> Mean:
    """The mean of task means, each counting alike."""
    known = [mean for mean in means if mean.last.known]
    return Mean(
        "mean of tasks",
        "all",
        "",
        mean_of(mean.last for mean in known),
        mean_of(mean.ever for mean in known),
        tuple(mean.name for mean in known),
    )
