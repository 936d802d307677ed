"""Ends a run in order: `stair-submit --cancel RUN`.

Takes a run folder, hands on RUN/cancelled and the end of every living job. The marker comes first, because
a supervisor whose job is cancelled must neither requeue it nor send it again; only then does one scancel
take all jobs of the ledger, those that still wait for others included. The surprise: a supervisor may have
decided to send its job again just before the marker was there, so the ledger is read once more afterwards.
Who takes longer finds the marker when it has sent (again.py), or else when that job begins (supervise.py).
"""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from stair.cluster.jobs import SlurmIsSilent, ask_jobs
from stair.cluster.ledger import read_sent
from stair.console import show
from stair.errors import FINE, StairError
from stair.report.facts import cancelled_file, read_cancelled, read_evidence
from stair.report.local import read_worker
from stair.report.look import slurm_environment
from stair.rundir import RunDir, write_json

SECONDS = 30.0
"""How long scancel may take."""
SETTLE_S = 1.0
"""How long a supervisor mostly takes from its decision to the line in the ledger."""
ROUNDS = 3


def cancel(path: Path, *, pause: Callable[[float], None] = time.sleep) -> int:
    """Cancels a run and says what was cancelled. Returns 0, also for a run that is over already.

    Raises NoSuchRun for a folder that was never submitted to, StairError when Slurm refuses or is silent;
    the marker stands even then, so that nothing begins again, and the command can be repeated.
    """
    evidence, run = read_evidence(path), RunDir(path)
    if all(evidence.is_finished(step) for step in evidence.run.steps):
        show(f"{path} is over: all its steps are done")
        return FINE
    if evidence.run.executor == "slurm":
        first = write_marker(run)
        what = _cancel_jobs(run, slurm_environment(evidence.run.slurm_conf), pause)
    else:
        worker = _living_worker(run)
        first = worker is not None and write_marker(run)
        what = _cancel_worker(run, worker) if worker is not None else ""
    if what:
        show(what)
        return FINE
    if first:
        cancelled_file(run).unlink(missing_ok=True)  # it ended by itself, and shall be told so
    before = read_cancelled(run)
    told = f"was cancelled by {before.who} {before.when}".rstrip() if before else "is over"
    show(f"{path} {told}: nothing of it is alive")
    return FINE


def write_marker(run: RunDir) -> bool:
    """Writes RUN/cancelled; says whether it was not there yet. The first to cancel stays on record."""
    file = cancelled_file(run)
    if file.exists():
        return False
    who = f"{_user()}@{socket.gethostname()}"
    write_json(file, {"who": who, "when": time.strftime("%Y-%m-%d %H:%M:%S %z"), "time": time.time()})
    return True


def _cancel_jobs(run: RunDir, environment: dict[str, str], pause: Callable[[float], None]) -> str:
    """Ends the living jobs of the ledger, and those that are added to it meanwhile. Returns what was done."""
    ended: list[str] = []
    asked: set[str] = set()
    for _ in range(ROUNDS):
        sent = read_sent(run)
        fresh = {line.job for line in sent} - asked
        if not fresh:
            break
        asked |= fresh
        try:
            states = ask_jobs(fresh, environment, accounting=False)
        except SlurmIsSilent as error:
            raise SlurmIsSilent(
                f"{error.what}; {run.path} is marked as cancelled, but its jobs are not ended yet",
                hint="repeat this command when Slurm answers again",
            ) from None
        # Members live in their array: scancel takes it whole.
        living = sorted({id.partition("_")[0] for id, state in states.items() if state.alive}, key=int)
        if living:
            _scancel(living, environment)
            ended += living
            pause(SETTLE_S)
    jobs = f"job {ended[0]}" if len(ended) == 1 else f"{len(ended)} jobs ({', '.join(ended)})"
    return f"cancelled {jobs} of {run.path}" if ended else ""


def _scancel(jobs: list[str], environment: dict[str, str]) -> None:
    try:
        done = subprocess.run(
            ["scancel", *jobs],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise SlurmIsSilent(
            f"scancel gave no answer within {SECONDS:g} s", hint="repeat the command"
        ) from None
    except OSError as error:
        raise SlurmIsSilent(
            f"scancel: {error.strerror}", hint="is this a login node of the cluster?"
        ) from None
    # A job that ended between the two commands is no failure.
    said = [line for line in done.stderr.splitlines() if line and "already complet" not in line]
    if done.returncode != 0 and said:
        raise StairError(f"scancel: {said[-1].strip()}", hint="`stair-report RUN` shows what is still alive")


def _living_worker(run: RunDir) -> int | None:
    """The process that runs a local run. Raises StairError when it may live on another machine."""
    worker = read_worker(run)
    if worker.elsewhere:
        raise StairError(
            f"{run.path} was started on {worker.elsewhere}, which cannot be looked at from here",
            hint=f"repeat this command on {worker.elsewhere}",
        )
    return int(worker.job) if worker.alive and worker.job.isdecimal() else None


def _cancel_worker(run: RunDir, process: int) -> str:
    """Tells the worker to leave in order. Returns what was done; empty when it has just ended."""
    try:
        os.kill(process, signal.SIGTERM)
    except ProcessLookupError:
        return ""
    except PermissionError:
        raise StairError(
            f"process {process} of {run.path} is somebody else's", hint="ask its owner to cancel it"
        ) from None
    return f"cancelled {run.path}: process {process} saves what it has and leaves"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
