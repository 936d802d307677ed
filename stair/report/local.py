"""How a run on this machine stands, without Slurm.

Takes the folder's Evidence with the worker's own record (outcome.json, its lock, the manifest), hands on the
same RunStatus as on Slurm. The surprise: whether the worker lives is read from /proc/locks and not tried
out, because a lock held for a moment by us would turn away a worker that starts at that moment. It is read
before all that the worker leaves: who ends later has left it by then or is still alive.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stair.report.facts import Evidence
from stair.report.progress import span
from stair.report.standing import AGAIN, Standing
from stair.report.status import RunStatus, StepStatus, in_words
from stair.rundir import RunDir

STARTING_S = 60.0
"""How long a worker may take from its submission to its lock."""
LOOKS = 3
"""At the table of locks before a lock counts as free: it is handed out page by page, and of a long one a row
that moves up meanwhile is missed."""


@dataclass(frozen=True)
class Worker:
    """What the worker of a local run left, and whether it lives."""

    alive: bool
    outcome: dict[str, str] | None = None
    """How it ended: state, step, what, hint."""
    job: str = ""
    """The process that runs it."""
    submitted: float = 0.0
    submissions: int = 0
    elsewhere: str = ""
    """Another machine that it was started on: its lock cannot be seen from here."""


def read_worker(run: RunDir) -> Worker:
    """Looks at the worker of a run folder; nothing is started, locked or signalled."""
    alive = is_locked(run.logs / "worker.lock")
    outcome = _tree(run.path / "outcome.json")
    manifest = _tree(run.manifest) or {}
    attempts = (manifest.get("submit") or {}).get("attempts") or []
    host = attempts[-1].get("host", "") if attempts else ""
    return Worker(
        alive=alive,
        outcome={key: str(value) for key, value in outcome.items()} if outcome else None,
        job=str((attempts[-1].get("job") or {}).get("id", "")) if attempts else "",
        submitted=run.manifest.stat().st_mtime if attempts else 0.0,
        submissions=len(attempts),
        elsewhere=host if host != socket.gethostname() and not outcome else "",
    )


def is_locked(file: Path, table: Path = Path("/proc/locks")) -> bool:
    """Whether a process holds the file by flock(2)."""
    try:
        its = file.stat()
    except OSError:
        return False
    for _ in range(LOOKS):
        try:
            rows = [row.split() for row in table.read_text().splitlines()]
        except OSError:
            return _try_lock(file)
        if any(row[1] == "FLOCK" and _is_about(its, row[5], row[4]) for row in rows if len(row) > 5):
            return True
    return False


def _is_about(its: os.stat_result, place: str, holder: str) -> bool:
    """Whether a row of the table, with its `place` as DEVICE:INODE, is about the file with this stat."""
    device, _, inode = place.rpartition(":")
    if inode != str(its.st_ino):
        return False
    if device == f"{os.major(its.st_dev):02x}:{os.minor(its.st_dev):02x}":
        return True
    # A file of another disk, or one of a file system that tells two numbers of its device (btrfs, overlayfs):
    # who holds a lock has the file open.
    try:
        files = list(Path(f"/proc/{holder}/fd").iterdir())
    except OSError:
        return True  # nobody can tell
    for opened in files:
        with contextlib.suppress(OSError):
            if os.path.samestat(opened.stat(), its):
                return True
    return False


def judge_local(evidence: Evidence, worker: Worker, now: float) -> RunStatus:
    """The status of a run on this machine. Pure."""
    found: list[StepStatus] = []
    before = ""
    for step in evidence.run.steps:
        if evidence.is_finished(step):
            seconds = evidence.done[step.name].get(None)
            standing = Standing("done", f"done in {span(seconds)}" if seconds else "done")
        elif before:
            alive = worker.alive or worker.elsewhere or _is_starting(worker, now)
            standing = (
                Standing("waiting", f"waiting for {before}") if alive else Standing("unsent", "not begun")
            )
        else:
            standing = _present(step.name, evidence, worker, now)
            before = step.name
        found.append(
            StepStatus(
                step.name,
                step.kind,
                standing.state,
                standing.words,
                standing.cure,
                progress=evidence.progress.get(step.name),
                log=standing.log,
            )
        )
    return RunStatus(evidence.run, tuple(found), now, newest=evidence.newest, cancelled=in_words(evidence))


def _present(step: str, evidence: Evidence, worker: Worker, now: float) -> Standing:
    """The first step that is not done: the one at work, or the one that it ended at."""
    if worker.alive:
        again = f", submission {worker.submissions}" if worker.submissions > 1 else ""
        return Standing("running", f"running on this machine{again}")
    outcome = worker.outcome
    if worker.elsewhere:
        words = f"started on {worker.elsewhere}; from here nobody can tell whether it still runs"
        return Standing("unknown", words, f"stair-report on {worker.elsewhere}")
    if outcome is None:
        if _is_starting(worker, now):
            return Standing("pending", "starting")
        if not worker.submissions:
            return Standing("unsent", "not begun", AGAIN)
        where = evidence.run.path / "logs" / "submitit"
        return Standing(
            "failed", "failed: its worker ended without a word", f"see the newest file of {where}"
        )
    if outcome.get("state") == "stopped":
        return Standing(
            "cancelled" if evidence.cancelled else "stopped", in_words(evidence) or "stopped", AGAIN
        )
    if outcome.get("state") == "done":
        return Standing("failed", "finished, but its done marker is missing", AGAIN)
    what = outcome.get("what") or "it said nothing"
    return Standing(
        "failed", f"failed: {what.removeprefix(f'step {step} failed, ')}", outcome.get("hint", "")
    )


def _is_starting(worker: Worker, now: float) -> bool:
    return worker.outcome is None and bool(worker.submissions) and now - worker.submitted < STARTING_S


def _tree(file: Path) -> dict[str, Any] | None:
    try:
        tree = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return tree if isinstance(tree, dict) else None


def _try_lock(file: Path) -> bool:
    """Where there is no table of locks (not Linux)."""
    with file.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
