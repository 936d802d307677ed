"""What was sent for a run and what became of it: two kinds of JSON lines in the run folder.

    RUN/jobs.jsonl                       one Sent line per sbatch
    RUN/attempts/STEP[-MEMBER].jsonl     an Attempt line per start of a step's supervisor, one more at its end

Written by the sender and by the supervisor on the node, read by whoever asks how a run stands. The
surprise: an attempt without an end line whose job is no longer alive was lost with its node.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal

from stair.frozen import frozen
from stair.rundir import RunDir, append_line, read_lines

Verdict = Literal["done", "checkpointed", "retryable", "fatal", "cancelled"]
"""How an attempt ended: all done; saved itself and left; worth another try; not worth one; by a person."""
Cause = Literal["", "timeout", "preemption", "node", "crash"]
"""Which budget an attempt that has to be repeated is counted on."""


@frozen
class Sent:
    """One sbatch."""

    batch: str
    """Name of the batch in the plan: its step, or STEP.K for the K-th part of a long array."""
    step: str
    job: str
    """Slurm's job id; the array's id for an array."""
    members: tuple[int, ...] = ()
    """Members of the step that this array runs, in the plan's count; empty: the step is no array."""
    offset: int = 0
    """Member = Slurm's array index + offset."""
    why: str = "submitted"
    after: tuple[str, ...] = ()
    """Job ids it waits for."""
    time: float = 0.0
    """Seconds since 1970."""


@frozen
class Attempt:
    """One start of a step, or of one member of it."""

    step: str
    member: int | None
    job: str
    """Slurm's id as people write it: 12, or 12_3 for a member of an array."""
    restart: int
    """How often Slurm had requeued this job before."""
    nodes: tuple[str, ...]
    started: float
    ended: float | None = None
    verdict: Verdict | None = None
    cause: Cause = ""
    why: str = ""
    """In plain words."""
    hint: str = ""
    next: str = ""
    """What was done about it: `requeued`, `sent again as 15`, or why it was not."""
    log: str = ""
    """The log of the process that failed first."""
    unfit: tuple[str, ...] = ()
    """Nodes that were at fault; later attempts do not use them."""
    findings: tuple[str, ...] = ()
    """Ids of what the doctor found on its nodes."""

    @property
    def key(self) -> tuple[str, int, float]:
        """What an end line shares with its start line."""
        return self.job, self.restart, self.started


def jobs_file(run: RunDir) -> Path:
    """Where the Sent lines stand."""
    return run.path / "jobs.jsonl"


def attempts_file(run: RunDir, step: str, member: int | None = None) -> Path:
    """Where the attempts of a step, or of one member of it, stand: a file each, since appends of many
    nodes to one file are not atomic on every shared file system."""
    return run.path / "attempts" / (f"{step}.jsonl" if member is None else f"{step}-{member:05d}.jsonl")


def record_sent(run: RunDir, sent: Sent) -> None:
    """Adds a line; `time` is filled in."""
    append_line(jobs_file(run), {**asdict(sent), "time": sent.time or time.time()})


def read_sent(run: RunDir) -> list[Sent]:
    """Everything that was sent for a run, oldest first."""
    return [_decode(Sent, line) for line in read_lines(jobs_file(run))]


def record_attempt(run: RunDir, attempt: Attempt) -> None:
    """Adds a line: once at the start, once more at the end with the same key."""
    append_line(attempts_file(run, attempt.step, attempt.member), asdict(attempt))


def read_attempts(run: RunDir, step: str, member: int | None = None) -> list[Attempt]:
    """The attempts of one step or member, oldest first, each as its last line has it."""
    latest: dict[tuple[str, int, float], Attempt] = {}
    for line in read_lines(attempts_file(run, step, member)):
        attempt = _decode(Attempt, line)
        latest[attempt.key] = attempt
    return list(latest.values())


def attempted(run: RunDir) -> Iterator[tuple[str, int | None]]:
    """Every step, or member of one, that has an attempt on record."""
    try:
        names = sorted(os.listdir(run.path / "attempts"))
    except FileNotFoundError:
        return
    for name in names:
        member = re.fullmatch(r"(.+)-(\d{5})\.jsonl", name)
        if member:
            yield member[1], int(member[2])
        elif name.endswith(".jsonl"):
            yield name.removesuffix(".jsonl"), None


def _decode(kind: Any, line: dict[str, Any]) -> Any:
    # Unknown keys are left out, so that older versions read what newer ones wrote.
    names = {field.name for field in fields(kind)}
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in line.items() if k in names})
