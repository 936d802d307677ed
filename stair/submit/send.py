"""A Plan becomes a run folder and a job: the only place that starts anything.

Takes a Plan, writes it with the settings of its steps and a manifest, and hands the *path* of the plan to
`stair.submit.worker.run_plan` through submitit: no object of ours is pickled, and no pickle is read back.
The surprise: the job ignores Ctrl-C in the terminal; the one who waits here turns it into an orderly stop.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stair.console import say
from stair.rundir import RunDir, write_whole
from stair.submit.folder import refuse_other_settings, write_settings
from stair.submit.manifest import describe, write_manifest
from stair.submit.plan import Plan
from stair.submit.secrets import refuse_secrets
from stair.submit.snapshot import describe_code, take_snapshot
from stair.submit.worker import SHOWN_GPUS, Outcome, log_file, only_worker, outcome_file, run_plan

POLL_S = 0.1


def send(plan: Plan) -> Any:
    """Writes the run folder and starts the job; returns submitit's Job at once.

    Raises UsageError when the folder holds a run of other settings or a secret stands in the plan,
    StairError when a job is at work in it or it cannot be written.
    """
    run = RunDir(Path(plan.run))
    refuse_other_settings(plan, run)
    refuse_secrets(plan, os.environ)
    run.create()
    with only_worker(run):
        outcome_file(run).unlink(missing_ok=True)
        (run.path / "cancelled").unlink(missing_ok=True)
        if plan.code:
            take_snapshot(run, describe_code())
        write_whole(run.plan, plan.text())
        for step in plan.steps:
            write_settings(step)
    attempt = describe(plan)
    job = None
    try:
        with _deaf_to_the_terminal():
            job = _submit(plan, run)
            write_manifest(plan, run, attempt, job.job_id)
    except KeyboardInterrupt:
        if job is None:
            raise
        _tell_to_stop(job)
    return job


def follow(tail: Tail, job: Any) -> Outcome:
    """Shows what the job says until it ends; Ctrl-C stops it, a second one at once."""
    asked = 0
    with _terminated_like_interrupted():
        while True:
            try:
                while not job.done():
                    tail.show()
                    time.sleep(POLL_S)
                break
            except KeyboardInterrupt:
                asked += 1
                say("stopping: the step is told to save itself" if asked == 1 else "ending it at once")
                _tell_to_stop(job)
    tail.show()
    return read_outcome(tail.run, asked_to_stop=asked > 0)


def read_outcome(run: RunDir, *, asked_to_stop: bool = False) -> Outcome:
    """How the worker ended; one that said nothing was stopped before it began, was killed or met a bug of
    ours."""
    try:
        return Outcome(**json.loads(outcome_file(run).read_text()))
    except (OSError, ValueError, TypeError):
        if asked_to_stop:
            return Outcome("stopped")
        logs = run.logs / "submitit"
        return Outcome("failed", what="the job ended without a word", hint=f"see the newest file of {logs}")


class Tail:
    """Shows the lines that a run's logs have grown by since this was made, marked with their step.

    Make it before the job is sent: a job whose steps are all done has ended before anybody looks.
    """

    def __init__(self, plan: Plan) -> None:
        self.run = RunDir(Path(plan.run))
        self.names = {log_file(self.run, step): step.name for step in plan.steps}
        self.width = max(len(name) for name in self.names.values())
        self.offsets = {path: path.stat().st_size if path.exists() else 0 for path in self.names}

    def show(self) -> None:
        """Prints every line that was finished since the last call."""
        for path, name in self.names.items():
            for line in self._new_lines(path):
                say(f"{name:>{self.width}} │ {line}")

    def _new_lines(self, path: Path) -> list[str]:
        try:
            with path.open("rb") as file:
                file.seek(self.offsets[path])
                whole, newline, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return []
        self.offsets[path] += len(whole) + len(newline)
        return whole.decode(errors="replace").splitlines() if newline else []


def _submit(plan: Plan, run: RunDir) -> Any:
    from submitit import AutoExecutor

    executor = AutoExecutor(folder=run.logs / "submitit", cluster="local")
    minutes = max(1, math.ceil(60 * plan.hours))
    executor.update_parameters(timeout_min=minutes, gpus_per_node=plan.gpus_per_node or 0)
    with _inherited(SHOWN_GPUS, os.environ.get("CUDA_VISIBLE_DEVICES")):
        return executor.submit(run_plan, str(run.plan))


@contextlib.contextmanager
def _inherited(name: str, value: str | None) -> Iterator[None]:
    """Sets a variable for the processes started inside."""
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)


def _tell_to_stop(job: Any) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(job.job_id), signal.SIGTERM)


@contextlib.contextmanager
def _deaf_to_the_terminal() -> Iterator[None]:
    """Processes started inside never hear Ctrl-C or the closing of the terminal: a blocked signal is
    inherited. Here it waits, and arrives at the end."""
    heard: list[int] = []
    numbers = (signal.SIGINT, signal.SIGHUP)
    hearing = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    # A signal may come to another thread, which has not blocked it.
    before = {number: signal.signal(number, lambda which, _: heard.append(which)) for number in hearing}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in set(heard):
        signal.raise_signal(number)


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """A SIGTERM to the one who waits stops the job too, instead of leaving it behind."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
