"""What a run folder has to tell, gathered; standard library only.

Takes a run folder, or a chain's folder with one run folder per step in it, hands on a Report: evaluations
with their sums, and the training curves beside them. Reads records and metrics, never a model or an
image, so that it runs on a login node. Writing it down is report_text.py and report_html.py.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stair.errors import COULD_NOT_CHECK, StairError
from stair.evaluate.episodes import HEADER, EpisodeRecord, TaskSummary, read_records, summarise
from stair.rundir import RunDir, read_lines, write_json, write_whole

Points = list[tuple[float, float]]
"""(step, value) pairs in the order of steps."""


class NothingToReport(StairError):
    """There is no episode on record."""

    exit_code = COULD_NOT_CHECK


@dataclass(frozen=True)
class Evaluation:
    """The episodes of one run folder."""

    name: str
    """The folder's name below the reported one; empty for itself."""
    run: RunDir
    settings: dict[str, Any]
    """What the records share, as the evaluation wrote it."""
    records: list[EpisodeRecord]
    tasks: list[TaskSummary]

    @property
    def errors(self) -> int:
        return sum(task.errors for task in self.tasks)

    @property
    def mean_rate(self) -> float | None:
        """Mean of the tasks' success rates, as tables of papers have it; None without a finished task."""
        rates = [task.rate for task in self.tasks if task.episodes]
        return sum(rates) / len(rates) if rates else None


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
    evaluations = [found for folder in folders if (found := _evaluation(path, folder)) is not None]
    trainings = [found for folder in folders if (found := _training(path, folder)) is not None]
    if not evaluations:
        raise NothingToReport(
            f"no episodes in {path}: neither in episodes/ nor in a folder of one of its steps",
            hint=f"evaluate first: python -m stair.evaluate --run {path}",
        )
    return Report(RunDir(path), evaluations, trainings)


def write_report(report: Report) -> Path:
    """Writes report.json, report.md and report.html into the folder; returns the path of the last."""
    from stair.evaluate.report_html import as_html
    from stair.evaluate.report_text import as_json, as_markdown

    write_json(report.run.report("json"), as_json(report))
    write_whole(report.run.report("md"), as_markdown(report))
    write_whole(report.run.report("html"), as_html(report))
    return report.run.report("html")


def _evaluation(root: Path, folder: Path) -> Evaluation | None:
    run = RunDir(folder)
    records = read_records(run.episodes)
    if not records:
        return None
    return Evaluation(_name(root, folder), run, _settings(run), records, summarise(records))


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
