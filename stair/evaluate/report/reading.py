"""What a run folder has to tell, gathered; standard library only.

Takes a run folder, or a folder with one run folder per step or seed in it, hands on a Report: evaluations
with their sums, and the training curves beside them. Reads records and metrics, never a model or an
image, so that it runs on a login node. Writing it down is tree.py, text.py and html.py.
The surprise: folders whose settings are the same but for the seed, or whose tasks differ, are one evaluation.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stair.errors import COULD_NOT_CHECK, StairError
from stair.evaluate.episodes import HEADER, EpisodeRecord, TaskSummary, read_records, summarise
from stair.evaluate.numbers.suites import Mean, means_of_suites, means_of_tasks, overall
from stair.rundir import RunDir, read_lines, write_json, write_whole

if TYPE_CHECKING:
    from stair.evaluate.numbers.comparison import Comparison
    from stair.evaluate.numbers.real_robot import RealTask

Points = list[tuple[float, float]]
"""(step, value) pairs in the order of steps."""


class NothingToReport(StairError):
    """There is no episode on record."""

    exit_code = COULD_NOT_CHECK


@dataclass(frozen=True)
class Evaluation:
    """The episodes of one run folder, or of several that belong together."""

    name: str
    """The folder's name below the reported one; empty for itself. Several are joined by ` + `."""
    settings: dict[str, Any]
    """What the records share, as the evaluation wrote it."""
    records: list[EpisodeRecord]
    """Films' paths are relative to the reported folder."""
    tasks: list[TaskSummary]
    """One per task and variant."""
    means: list[Mean]
    """One per task and setting, over its looks."""
    suites: list[Mean]
    """The published averages that the records are of."""

    @property
    def errors(self) -> int:
        return sum(task.errors for task in self.tasks)

    @property
    def seeds(self) -> list[int]:
        return sorted({record.seed for record in self.records})

    @property
    def overall(self) -> Mean:
        """The mean of the tasks' means, as tables of papers have it."""
        return overall(self.means)

    @property
    def mean_rate(self) -> float | None:
        """`overall` at the last step; None without a finished task."""
        return self.overall.last.value if self.overall.last.known else None


@dataclass(frozen=True)
class Training:
    """The metrics of one training run."""

    name: str
    metrics: dict[str, Points]


@dataclass(frozen=True)
class Report:
    """All there is to tell about a folder."""

    run: RunDir
    evaluations: list[Evaluation]
    trainings: list[Training]
    precision: float = 0.05
    """Half-width of the interval that episode counts are told for."""
    against: str = ""
    """The run that `comparison` is with."""
    comparison: Sequence[Comparison] = ()
    real: Sequence[RealTask] = ()
    """Tasks held against a real robot."""

    @property
    def errors(self) -> int:
        return sum(evaluation.errors for evaluation in self.evaluations)


def read_report(path: Path) -> Report:
    """Gathers the report of a run folder or a chain's folder.

    Raises NothingToReport when the folder is missing or holds no episodes.
    """
    if not path.is_dir():
        raise NothingToReport(f"no run folder {path}", hint="check the path")
    folders = [path, *sorted(child for child in path.iterdir() if child.is_dir())]
    evaluations = joined([found for folder in folders if (found := _folder(path, folder)) is not None])
    trainings = [found for folder in folders if (found := _training(path, folder)) is not None]
    if not evaluations:
        raise NothingToReport(
            f"no episodes in {path}: neither in episodes/ nor in a folder of one of its steps",
            hint=f"evaluate first: python -m stair.evaluate --run {path}",
        )
    return Report(RunDir(path), evaluations, trainings)


def write_report(report: Report) -> Path:
    """Writes report.json, report.md and report.html into the folder; returns the path of the last."""
    from stair.evaluate.report.html import as_html
    from stair.evaluate.report.text import as_markdown
    from stair.evaluate.report.tree import as_json

    write_json(report.run.report("json"), as_json(report))
    write_whole(report.run.report("md"), as_markdown(report))
    write_whole(report.run.report("html"), as_html(report))
    return report.run.report("html")


@dataclass(frozen=True)
class Folder:
    """What one folder of records holds."""

    name: str
    settings: dict[str, Any]
    records: list[EpisodeRecord]


def _folder(root: Path, folder: Path) -> Folder | None:
    run, name = RunDir(folder), _name(root, folder)
    records = read_records(run.episodes)
    if not records:
        return None
    if name:
        records = [replace(one, video=str(Path(name, one.video)) if one.video else "") for one in records]
    return Folder(name, _settings(run), records)


def joined(folders: Sequence[Folder]) -> list[Evaluation]:
    """Folders as evaluations: those of the same settings but for the seed are one, as long as no task was
    played twice with one seed. Folders without settings stand alone."""
    groups: list[list[Folder]] = []
    for folder in folders:
        fitting = (group for group in groups if _belongs(folder, group))
        found = next(fitting, None)
        if found is None:
            groups.append([folder])
        else:
            found.append(folder)
    return [_evaluation(group) for group in groups]


def _belongs(folder: Folder, group: list[Folder]) -> bool:
    def rest(settings: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in settings.items() if name != "seed"}

    def played(one: Folder) -> set[tuple[str, int]]:
        return {(record.task, record.seed) for record in one.records}

    return (
        bool(folder.settings)
        and rest(folder.settings) == rest(group[0].settings)
        and not any(played(folder) & played(one) for one in group)
    )


def _evaluation(group: list[Folder]) -> Evaluation:
    records = [record for folder in group for record in folder.records]
    records.sort(key=lambda record: (record.task, record.variant, record.episode_id, record.seed))
    settings, seeds = dict(group[0].settings), sorted({record.seed for record in records})
    if len(seeds) > 1:
        settings["seed"] = ", ".join(map(str, seeds))
    tasks = summarise(records)
    means = means_of_tasks(tasks, records)
    return Evaluation(
        name=" + ".join(folder.name for folder in group if folder.name),
        settings=settings,
        records=records,
        tasks=tasks,
        means=means,
        suites=means_of_suites(means),
    )


def _settings(run: RunDir) -> dict[str, Any]:
    try:
        tree = json.loads((run.episodes / HEADER).read_text())
    except (OSError, ValueError):
        return {}  # the records speak for themselves
    return tree if isinstance(tree, dict) else {}


def _training(root: Path, folder: Path) -> Training | None:
    metrics: dict[str, dict[float, float]] = {}
    try:
        for line in read_lines(RunDir(folder).metrics):
            step = line.get("step")
            for name, value in line.items():
                if name == "step" or not _is_number(value) or not _is_number(step):
                    continue
                # A resumed run writes some steps twice; the later line is of the run that went on.
                metrics.setdefault(name, {})[float(step)] = float(value)  # type: ignore[arg-type]
    except ValueError as error:
        raise StairError(f"{RunDir(folder).metrics} holds a line that is no JSON: {error}") from None
    if not metrics:
        return None
    return Training(_name(root, folder), {name: sorted(points.items()) for name, points in metrics.items()})


def _name(root: Path, folder: Path) -> str:
    return "" if folder == root else folder.name


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
