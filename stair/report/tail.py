"""The last lines of the log of what failed first.

Takes a RunStatus, hands it on with the tails of its failed steps filled in. Attempts name their log; where
none is named, the step's newest log that says anything is taken.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stair.report.progress import last_lines
from stair.report.status import RunStatus, StepStatus
from stair.rundir import RunDir

LINES = 15
WIDTH = 200
"""Characters of a line that are shown."""
BYTES = 20_000


def with_tails(status: RunStatus) -> RunStatus:
    """The status with the end of a log at every step that failed."""
    run = RunDir(status.run.path)
    return replace(status, steps=tuple(_with_tail(step, run) for step in status.steps))


def _with_tail(step: StepStatus, run: RunDir) -> StepStatus:
    if step.state != "failed" and not step.failures:
        return step
    log = Path(step.log) if step.log else _newest_log(step.name, run)
    if log is None:
        return step
    try:
        lines = last_lines(log, BYTES)
    except OSError:
        return replace(step, log=str(log))
    spoken = [line.rstrip()[:WIDTH] for line in lines if line.strip()]
    return replace(step, log=str(log), tail=tuple(spoken[-LINES:]))


def _newest_log(step: str, run: RunDir) -> Path | None:
    """`STEP.log`, or of `STEP-….log` and `STEP.….log` the newest that is not empty."""
    try:
        logs = [
            (file.stat().st_mtime, file)
            for mark in ("", "-*", ".*")
            for file in run.logs.glob(f"{step}{mark}.log")
            if file.stat().st_size
        ]
    except OSError:
        return None
    return max(logs)[1] if logs else None
