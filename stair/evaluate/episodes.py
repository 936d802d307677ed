"""What an evaluation leaves behind: one JSON line per episode, and their sums; standard library only.

Takes finished episodes, hands on records in RUN/episodes/TASK.jsonl (TASK-SHARE.jsonl where an array
shares them out: appends of many nodes to one file are not atomic on every file system), and back. A record
is keyed by its grid point. The surprise: a key may stand there twice, when an episode that ended in an error
was tried again; the later line of a file counts, and between files the one without an error.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from stair.errors import StairError
from stair.evaluate.numbers.intervals import episodes_for
from stair.evaluate.numbers.rates import Rate, rate_of
from stair.rundir import append_line, read_lines

HEADER = "settings.json"
"""Beside the records: the settings that they share."""
WHOLE = {"success"}
"""Flags of simulators that say what the record says anyway, and are no partial success."""


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
    attempts: int = 1
    """How often it was begun until it came to this end."""
    faults: tuple[str, ...] = ()
    """What ended the attempts before: processes that died or hung, servers that were lost."""
    info: dict[str, bool] = field(default_factory=dict)
    """What the simulator told beside success at the last step, e.g. `is_src_obj_grasped`."""
    info_ever: dict[str, bool] = field(default_factory=dict)
    """The same names, whether each held at any step."""
    times_s: dict[str, float] = field(default_factory=dict, compare=False)
    """Parts of wall_s by name: `simulator`, and `policy` for the waiting for its answers."""


@dataclass(frozen=True)
class Partial:
    """A flag of the simulator, over the episodes that recorded it."""

    last: Rate
    """It held at the last step."""
    ever: Rate


@dataclass(frozen=True)
class TaskSummary:
    """The records of one task and variant, added up."""

    task: str
    variant: str
    last: Rate
    """Success at the last step, over layouts."""
    ever: Rate
    """Success at any step."""
    layouts: int
    """Different starts among the episodes; fewer than episodes where starts were repeated."""
    mean_steps: float
    mean_first_success: float | None
    errors: int
    retried: int
    """Those that came to their end only after a process died or hung, or a server was lost."""
    partial: dict[str, Partial]
    """By the flag's name, in the order of the alphabet."""
    wall_s: float
    """Wall seconds of all episodes, each from reset to its last step."""
    times_s: dict[str, float]
    """Its parts, where they were recorded."""

    @property
    def episodes(self) -> int:
        """Those that came to their end."""
        return self.last.trials

    @property
    def successes(self) -> int:
        return self.last.hits

    @property
    def successes_ever(self) -> int:
        return self.ever.hits

    @property
    def rate(self) -> float:
        return self.last.value

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the success rate at the last step; see rates.rate_of."""
        return self.last.interval

    def episodes_needed(self, half_width: float) -> int:
        """How many episodes would make the interval this narrow to either side, at this rate."""
        return episodes_for(half_width, self.rate)

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
    file = folder / f"{record.task}{share}.jsonl"
    _cut_torn_line(file)
    append_line(file, asdict(record))


def _cut_torn_line(file: Path) -> None:
    """Takes away half a line that a full disk or a power cut left at the end: readers skip it, but the next
    record would be glued to it. Each file has one writer."""
    try:
        with file.open("rb+") as opened:
            end = opened.seek(0, os.SEEK_END)
            opened.seek(max(0, end - 1))
            if opened.read(1) in (b"", b"\n"):
                return
            opened.seek(0)
            opened.truncate(opened.read().rfind(b"\n") + 1)
    except FileNotFoundError:
        return


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
    times = [record.times_s for record in ended]
    return TaskSummary(
        task=task,
        variant=variant,
        last=rate_over_layouts((record, record.success) for record in ended),
        ever=rate_over_layouts((record, record.success_ever) for record in ended),
        layouts=len({record.episode_id for record in ended}),
        mean_steps=sum(record.steps for record in ended) / len(ended) if ended else 0.0,
        mean_first_success=sum(firsts) / len(firsts) if firsts else None,
        errors=len(group) - len(ended),
        retried=sum(record.attempts > 1 for record in ended),
        partial={
            name: _partial(name, ended) for name in sorted({n for r in ended for n in r.info_ever} - WHOLE)
        },
        wall_s=sum(record.wall_s for record in ended),
        times_s={
            name: sum(t.get(name, 0.0) for t in times) for name in sorted({n for t in times for n in t})
        },
    )


def rate_over_layouts(outcomes: Iterable[tuple[EpisodeRecord, bool]]) -> Rate:
    """The rate of something that was so or not in each record; repeats of a layout are averaged first."""
    layouts: dict[tuple[str, str, int], list[bool]] = {}
    for record, held in outcomes:
        layouts.setdefault((record.task, record.variant, record.episode_id), []).append(held)
    return rate_of(layouts.values())


def _partial(name: str, ended: list[EpisodeRecord]) -> Partial:
    told = [record for record in ended if name in record.info_ever]
    return Partial(
        last=rate_over_layouts((record, record.info.get(name, False)) for record in told),
        ever=rate_over_layouts((record, record.info_ever[name]) for record in told),
    )


def _record(line: Any, where: str) -> EpisodeRecord:
    names = {one.name for one in fields(EpisodeRecord)}
    try:
        # Unknown keys are left out, so that older versions read what newer ones wrote.
        known = {name: value for name, value in line.items() if name in names}
        return EpisodeRecord(**{**known, "faults": tuple(known.get("faults", ()))})
    except (TypeError, AttributeError) as error:
        raise StairError(f"{where} is no episode record: {error}", hint="remove the line") from None
