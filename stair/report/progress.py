"""How far a step is, from what it writes while it works.

Takes a step's folder and settings, hands on a Progress: of training from the end of metrics.jsonl, of an
evaluation from its episode records. Rates are the step's own; nothing is derived from clocks of this
machine, which may not be the node's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stair.rundir import RunDir

TAIL_BYTES = 65536
"""Of metrics.jsonl: some hundred lines."""


class Step(Protocol):
    """What is needed of a step here; facts.py has it."""

    @property
    def kind(self) -> str: ...
    @property
    def folder(self) -> Path: ...
    @property
    def members(self) -> int: ...
    @property
    def settings(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Progress:
    """Units done, of how many (0: not known)."""

    done: int
    of: int
    unit: str
    """`steps` or `episodes`."""
    time: float
    """When it was written, in seconds since 1970."""
    loss: float | None = None
    samples_per_s: float | None = None
    left_s: float | None = None
    """At the present rate."""
    successes: int | None = None
    errors: int = 0

    def in_words(self, *, running: bool) -> str:
        """`step 120 of 2000, loss 0.4123, 512 samples/s, 9 min left`; the last two only while it runs."""
        of = f" of {self.of}" if self.of else ""
        if self.unit == "episodes":
            words = [f"{self.done}{of} episodes"]
            words += [f"{self.successes} successes"] if self.successes is not None else []
            words += [f"{self.errors} errors"] if self.errors else []
            return ", ".join(words)
        words = [f"step {self.done}{of}"]
        words += [f"loss {self.loss:.4g}"] if self.loss is not None else []
        if running and self.samples_per_s is not None:
            words.append(f"{self.samples_per_s:.3g} samples/s")
        if running and self.left_s is not None and self.left_s > 0:
            words.append(f"{span(self.left_s)} left")
        return ", ".join(words)


def read_progress(step: Step) -> Progress | None:
    """The progress of a training or evaluation step; None for others, before the first line, and for arrays:
    their members tell it, and reading what thousands of them wrote would take longer than all the rest."""
    if step.members > 1:
        return None
    try:
        if step.kind == "train":
            return _training(RunDir(step.folder).metrics, step.settings.get("train", {}))
        if step.kind == "eval":
            return _episodes(RunDir(step.folder).episodes, step.settings.get("eval", {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # half a record is no progress, and the report itself says what is broken
    return None


def span(seconds: float) -> str:
    """A time in words: `40 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    seconds = max(0.0, seconds)
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def last_lines(path: Path, size: int = TAIL_BYTES) -> list[str]:
    """The whole lines among the last `size` bytes of a file."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - size))
        text = file.read()
    if end > size:
        text = text.partition(b"\n")[2]
    return text.rpartition(b"\n")[0].decode(errors="replace").splitlines()


def _training(metrics: Path, settings: Mapping[str, Any]) -> Progress | None:
    if not metrics.exists():
        return None
    lines = [json.loads(line) for line in last_lines(metrics)]
    lines = [line for line in lines if isinstance(line.get("step"), int)]
    if not lines:
        return None
    last = lines[-1]
    done, of = last["step"], int(settings.get("steps", 0))
    loss = next((line["loss"] for line in reversed(lines) if "loss" in line), None)
    rate = last.get("samples_per_s")
    batch = settings.get("data", {}).get("batch_size")
    left = (of - done) * batch / rate if rate and batch and of else None
    return Progress(done, of, "steps", metrics.stat().st_mtime, loss, rate, left)


def _episodes(folder: Path, settings: Mapping[str, Any]) -> Progress | None:
    from stair.evaluate.episodes import read_records

    files = list(folder.glob("*.jsonl"))
    if not files:
        return None
    records = read_records(folder)
    ended = [record for record in records if not record.error]
    return Progress(
        done=len(ended),
        of=int(settings.get("episodes", 0)) * len(settings.get("tasks", ())),
        unit="episodes",
        time=max(file.stat().st_mtime for file in files),
        successes=sum(record.success for record in ended),
        errors=len(records) - len(ended),
    )
