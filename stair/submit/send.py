"""A Plan becomes a run folder and a job: the only place that starts anything.

Takes a Plan, writes it with the settings of its steps and a manifest, and hands the *path* of the plan to
`stair.submit.worker.run_plan` through submitit: no object of ours is pickled, and no pickle is read back.
The surprise: the job ignores Ctrl-C in the terminal; the one who waits here turns it into an orderly stop,
and is itself never interrupted once there may be a job.
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
from stair.errors import StairError
from stair.rundir import RunDir, write_whole
from stair.submit.folder import refuse_other_settings, write_settings
from stair.submit.manifest import describe, write_manifest
from stair.submit.plan import Plan
from stair.submit.secrets import refuse_secrets
from stair.submit.snapshot import describe_code, take_snapshot
from stair.submit.worker import (
    SHOWN_GPUS,
    Outcome,
    asked_file,
    log_file,
    only_worker,
    outcome_file,
    run_plan,
)

POLL_S = 0.1


class Listener:
    """Hears Ctrl-C and SIGTERM for the one who sends a job and waits for it.

    Until there is a job they do what they always do. From then on they are only counted, and `follow` passes
    them on: whoever is interrupted between the start of a job and the first look at it leaves it behind.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.has_job = False
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Listener:
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if handler not in (signal.SIG_IGN, None):
                self.before[number] = handler
                signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in reversed(self.before.items()):
            signal.signal(number, handler)

    def _hear(self, number: int, frame: object) -> None:
        if self.has_job:
            self.asked += 1
        else:
            signal.signal(number, self.before[number])
            signal.raise_signal(number)


def send(plan: Plan, listener: Listener) -> Any:
    """Writes the run folder and starts the job; returns submitit's Job at once.

    Raises UsageError when the folder holds a run of other settings or a secret stands in the plan,
    StairError when a job is at work in it or it cannot be written.
    """
    run = RunDir(Path(plan.run))
    refuse_other_settings(plan, run)
    refuse_secrets(plan, os.environ)
    run.create()
    attempt = describe(plan)
    with only_worker(run):  # until all is written: the job waits for it
        for file in (outcome_file(run), asked_file(run), run.path / "cancelled"):
            file.unlink(missing_ok=True)
        if plan.code:
            take_snapshot(run, describe_code())
        write_whole(run.plan, plan.text())
        for step in plan.steps:
            write_settings(step)
        listener.has_job = True
        with _deaf_to_the_terminal():
            job = _submit(plan, run)
            try:
                write_manifest(plan, run, attempt, job.job_id)
            except StairError:
                _tell_to_stop(job, run)
                raise
    return job


def follow(tail: Tail, job: Any, listener: Listener) -> Outcome:
    """Shows what the job says until it ends; Ctrl-C stops it, a second one at once."""
    told = 0
    while not job.done():
        tail.show()
        if told < listener.asked:
            told += 1
            _tell_to_stop(job, tail.run)
            say("stopping: the step is told to save itself" if told == 1 else "ending it at once")
        time.sleep(POLL_S)
    tail.show()
    return read_outcome(tail.run, asked_to_stop=told > 0)


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


def _tell_to_stop(job: Any, run: RunDir) -> None:
    """By signal and in writing: submitit drops a signal that comes while it starts the worker."""
    with contextlib.suppress(OSError), asked_file(run).open("a") as file:
        file.write(".")
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(job.job_id), signal.SIGTERM)


@contextlib.contextmanager
def _deaf_to_the_terminal() -> Iterator[None]:
    """Processes started inside never hear Ctrl-C or the closing of the terminal: a blocked signal is
    inherited. Here it waits, and arrives at the end."""
    closed: list[int] = []
    before = signal.getsignal(signal.SIGHUP)
    hears = before not in (signal.SIG_IGN, None)
    if hears:  # a signal may come to another thread, which has not blocked it
        signal.signal(signal.SIGHUP, lambda number, _: closed.append(number))
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if hears:
            signal.signal(signal.SIGHUP, before)
    if closed:
        signal.raise_signal(signal.SIGHUP)
