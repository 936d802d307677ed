"""What an evaluation leaves behind: one JSON line per episode, and their sums; standard library only.

Takes finished episodes, hands on records in RUN/episodes/TASK.jsonl (TASK-SHARE.jsonl where an array
shares them out: appends of many nodes to one file are not atomic on every file system), and back. A record
is keyed by its grid point. The surprise: a key may stand there twice, when an episode that ended in an error
was tried again; the later line of a file counts, and between files the one without an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from stair.errors import StairError
from stair.evaluate.intervals import episodes_for, wilson
from stair.rundir import append_line, read_lines

HEADER = "settings.json"
"""Beside the records: the settings that they share."""


@dataclass(frozen=True)
class EpisodeRecord:
    """One episode."""

    key: str
    task: str
    episode_id: int
    variant: str
    instruction: str
    success: bool
    """At the last step."""
    success_ever: bool
    first_success: int | None
    """Steps taken when the condition first held."""
    steps: int
    queries: int
    wall_s: float
    seed: int
    policy: str
    video: str = ""
    """Path relative to the run folder."""
    error: str = ""
    """Why there is no result; such a record counts neither as success nor as failure."""


@dataclass(frozen=True)
class TaskSummary:
    """The records of one task and variant, added up."""

    task: str
    variant: str
    episodes: int
    """Those that came to their end."""
    successes: int
    successes_ever: int
    mean_steps: float
    mean_first_success: float | None
    errors: int

    @property
    def rate(self) -> float:
        return self.successes / self.episodes if self.episodes else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson score interval of the success rate."""
        return wilson(self.successes, self.episodes)

    @property
    def episodes_for_5_points(self) -> int:
        """How many episodes would make the interval five points narrow to either side, at this rate."""
        return episodes_for(0.05, self.rate)

    @property
    def name(self) -> str:
        return f"{self.task} ({self.variant})" if self.variant else self.task

    def in_words(self) -> str:
        """`12/48 = 25 % (95 % interval 15–39 %)`, or that nothing was finished."""
        if not self.episodes:
            return "no finished episode"
        low, high = self.interval
        return (
            f"{self.successes}/{self.episodes} = {100 * self.rate:.0f} %"
            f" (95 % interval {100 * low:.0f}–{100 * high:.0f} %)"
        )


def append_record(folder: Path, record: EpisodeRecord, share: str = "") -> None:
    """Adds a record to its task's file, or that of a share. Raises StairError when it cannot be written."""
    append_line(folder / f"{record.task}{share}.jsonl", asdict(record))


def read_records(folder: Path) -> list[EpisodeRecord]:
    """All records of an `episodes` folder, one per key, ordered by task, variant and layout.

    Raises StairError naming file and line for something that is no record.
    """
    latest: dict[str, EpisodeRecord] = {}
    for file in sorted(folder.glob("*.jsonl")):
        for key, record in _records_of(file).items():
            if key not in latest or latest[key].error or not record.error:
                latest[key] = record
    return sorted(latest.values(), key=lambda record: (record.task, record.variant, record.episode_id))


def _records_of(file: Path) -> dict[str, EpisodeRecord]:
    try:
        lines = enumerate(read_lines(file), start=1)
        return {record.key: record for n, line in lines for record in [_record(line, f"{file}, line {n}")]}
    except ValueError as error:
        raise StairError(f"{file} holds a line that is no JSON: {error}", hint="remove the line") from None


def summarise(records: Iterable[EpisodeRecord]) -> list[TaskSummary]:
    """One summary per task and variant, in the order of the records."""
    groups: dict[tuple[str, str], list[EpisodeRecord]] = {}
    for record in records:
        groups.setdefault((record.task, record.variant), []).append(record)
    return [_summary(task, variant, group) for (task, variant), group in groups.items()]


def _summary(task: str, variant: str, group: list[EpisodeRecord]) -> TaskSummary:
    ended = [record for record in group if not record.error]
    firsts = [record.first_success for record in ended if record.first_success is not None]
    return TaskSummary(
        task=task,
        variant=variant,
        episodes=len(ended),
        successes=sum(record.success for record in ended),
        successes_ever=sum(record.success_ever for record in ended),
        mean_steps=sum(record.steps for record in ended) / len(ended) if ended else 0.0,
        mean_first_success=sum(firsts) / len(firsts) if firsts else None,
        errors=len(group) - len(ended),
    )


def _record(line: Any, where: str) -> EpisodeRecord:
    names = {field.name for field in fields(EpisodeRecord)}
    try:
        # Unknown keys are left out, so that older versions read what newer ones wrote.
        return EpisodeRecord(**{name: value for name, value in line.items() if name in names})
    except (TypeError, AttributeError) as error:
        raise StairError(f"{where} is no episode record: {error}", hint="remove the line") from None
