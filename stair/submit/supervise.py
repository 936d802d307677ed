"""`python -m stair.submit.supervise PLAN STEP [--offset N]`: what a batch script on Slurm becomes.

Takes the plan and the name of a step, hands on an attempt's record, the step's done marker, and whatever is
to happen next: a requeue, another sbatch, or nothing. It runs on the first node, on the host, where
scontrol is; the work itself runs in one srun step with a task per node (node.py). The surprise: Slurm may
signal this process, the srun step, or both, once or several times; the first word counts.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from stair.cluster.ledger import Attempt, Cause, attempts_file, read_attempts, record_attempt
from stair.console import run_command, say
from stair.errors import FAILED, FINE, StairError
from stair.rundir import RunDir, make_folder
from stair.submit.again import SAVED_ITSELF, again
from stair.submit.child import Child
from stair.submit.claim import Watch, claim, is_replaced
from stair.submit.fate import Fate, ask_fate, await_fate
from stair.submit.markers import finish, is_done, verify
from stair.submit.node import ending_file, log_file, read_ending
from stair.submit.plan import Plan, Step, read_plan
from stair.submit.seat import Seat, read_seat
from stair.submit.verdict import ENDED, Decision, Ending, decide, join_endings, lost, with_fate

POLL_S = 0.1
TELL_S = 5.0
"""Between two warnings of the step."""
LOCK_WAIT_S = 120.0
"""How long the attempt before may take to go away once another one has begun."""


class Ears:
    """Hears the signals to the batch script; the first one is remembered, the others change nothing."""

    def __init__(self) -> None:
        self.first: int | None = None
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, self._hear)

    def _hear(self, number: int, frame: object) -> None:
        self.first = self.first or number


def main(words: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Runs one attempt of a step. Returns 0 when the step is done or its next attempt is arranged."""
    ears = Ears()
    parser = argparse.ArgumentParser(prog="stair.submit.supervise")
    parser.add_argument("plan", type=Path)
    parser.add_argument("step")
    parser.add_argument("--offset", type=int, default=0)
    asked = parser.parse_args(words)
    plan, seat = read_plan(asked.plan), read_seat(environment)
    member = None if seat.index is None else seat.index + asked.offset
    step = plan.step(asked.step).of_member(member)
    run = RunDir(Path(plan.run))
    if is_done(step):
        say(f"{step.name}: finished earlier, skipped")
        return FINE
    claim(run, step, seat)
    replaced = Watch(run, step, seat)
    with _alone(run, step, replaced):
        if is_done(step):  # by the attempt that we waited for
            return FINE
        try:
            return _attempt(plan, step, run, seat, ears, replaced)
        except Replaced:
            say(f"{step.name}: another attempt has taken its place; nothing more is done here")
            return FAILED


class Replaced(Exception):
    """Another attempt works on the step; this one must not touch the run folder or the job any more."""


def _attempt(plan: Plan, step: Step, run: RunDir, seat: Seat, ears: Ears, replaced: Watch) -> int:
    earlier = []
    for attempt in read_attempts(run, step.name, step.member):
        if attempt.ended is None:
            attempt = lost(attempt, time.time())
            record_attempt(run, attempt)
        earlier.append(attempt)
    now = Attempt(step.name, step.member, seat.job, seat.restart, seat.nodes, started=time.time())
    record_attempt(run, now)
    try:
        verify(plan, step)
        ending = _work(plan, step, run, seat, ears, now, replaced)
        if ending.verdict == "done":
            finish(step, seconds=time.time() - now.started)
    except StairError as error:
        ending = Ending("fatal", why=error.what, hint=error.hint)
    fate = Fate() if ending.verdict in ("done", "fatal") else await_fate(seat, replaced)
    if is_replaced(run, step, seat):
        raise Replaced
    cancelled = fate.cancelled or (run.path / "cancelled").exists()
    decision = decide(with_fate(ending, fate.cause), earlier, plan.budgets, cancelled=cancelled)
    ended = replace(
        now,
        ended=time.time(),
        verdict=decision.ending.verdict,
        cause=decision.ending.cause,
        why=decision.ending.why,
        hint=decision.ending.hint,
        log=decision.ending.log,
        unfit=decision.exclude,
        next=decision.why_not,
    )
    _record(run, ended)  # before anything else: a requeue ends this process
    _tell(step, decision)
    if decision.again == "no":
        return FINE if decision.ending.verdict == "done" else FAILED
    code, what = (
        (SAVED_ITSELF, "requeued by Slurm")
        if fate.requeued
        else again(plan, step, run, seat, decision, replaced)
    )
    _record(run, replace(ended, next=what))
    say(what)
    return code


def _record(run: RunDir, attempt: Attempt) -> None:
    """Writes an attempt's end. A full disk must not keep its job from being requeued."""
    try:
        record_attempt(run, attempt)
    except StairError as error:
        say(f"not recorded: {error.what}")


def _work(
    plan: Plan, step: Step, run: RunDir, seat: Seat, ears: Ears, now: Attempt, replaced: Watch
) -> Ending:
    """Starts the srun step, passes a warning on, and reads what the nodes said at the end."""
    if ears.first is not None:
        cause = _meaning(plan, step, Fate(), now.started)
        return Ending("checkpointed", cause, "told to leave before it started", time=time.time())
    files = [ending_file(run, step, seat.job, seat.restart, node) for node in range(step.nodes)]
    for file in files:
        file.unlink(missing_ok=True)
    log = log_file(run, step, "srun")
    child = Child(srun(plan, step), log=log, cwd=plan.cwd, environment=dict(os.environ))
    warned: Cause = ""
    told = 0.0
    while child.exit_code() is None:
        if replaced():
            child.end(0.0)
            raise Replaced
        if ears.first is not None and not warned:
            warned = _heed(plan, step, run, seat, ears.first, now)
        if warned and time.monotonic() - told > TELL_S:
            # srun passes USR2 on to its tasks, unless it has just begun to start them: so it is told again.
            # SIGTERM it would take as an order to kill them.
            child.process.send_signal(signal.SIGUSR2)
            told = time.monotonic()
        time.sleep(POLL_S)
    ending = join_endings([read_ending(file) for file in files], seat.nodes[: step.nodes], warned=warned)
    if ending.verdict == "retryable" and not ending.log:
        ending = replace(ending, log=str(log), hint=ending.hint or child.last_words().what)
    return ending


def _heed(plan: Plan, step: Step, run: RunDir, seat: Seat, number: int, now: Attempt) -> Cause:
    """What a signal is about. It is recorded at once, in case the time until SIGKILL (Slurm's KillWait) does
    not suffice to say so later."""
    fate = ask_fate(seat)
    warned = fate.cause or _meaning(plan, step, fate, now.started)
    if fate.cancelled:
        ended = replace(now, verdict="cancelled", why="cancelled by a person")
    else:
        ended = replace(now, verdict="retryable", cause=warned, why=ENDED[warned])
    _record(run, replace(ended, ended=time.time()))
    what = "cancelled" if fate.cancelled else warned
    say(f"{signal.Signals(number).name}: {what}; the step is told to save itself")
    return warned


def srun(plan: Plan, step: Step) -> tuple[str, ...]:
    """The words that start one task of node.py on every node of the job.

    The cores are said again, because srun no longer takes them from the batch script (Slurm 22.05 and
    later); a task that fails ends the others, since it could only keep them waiting.
    """
    words = [
        "srun",
        f"--nodes={step.nodes}",
        f"--ntasks={step.nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={max(1, step.cores)}",
        "--kill-on-bad-exit=1",
        "--export=ALL",
        "--input=none",
        "--unbuffered",
        sys.executable,
        "-m",
        "stair.submit.node",
        str(RunDir(Path(plan.run)).plan),
        step.name,
    ]
    return (*words, *(() if step.member is None else ("--member", str(step.member))))


def _meaning(plan: Plan, step: Step, fate: Fate, started: float) -> Cause:
    """What a signal is about when Slurm does not say: close to the end of the job's time, the time limit.

    Slurm counts in whole minutes and may be 60 s early (sbatch(1), --signal).
    """
    ends = started + step.hours * 3600 if fate.ends is None else fate.ends
    return "timeout" if ends - time.time() <= plan.warn_s + 120 else "preemption"


def _tell(step: Step, decision: Decision) -> None:
    ending = decision.ending
    words = [f"{step.name}: {ending.verdict}", ending.why, decision.why_not]
    say("; ".join(word for word in words if word))
    if ending.hint:
        say(f"  try: {ending.hint}")


@contextmanager
def _alone(run: RunDir, step: Step, replaced: Watch) -> Iterator[None]:
    """Holds the step, or the member of it, while the attempt lasts. Raises StairError if another stays."""
    place = attempts_file(run, step.name, step.member).with_suffix(".lock")
    make_folder(place.parent)
    deadline = time.monotonic() + LOCK_WAIT_S
    with place.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline or replaced():
                    raise StairError(
                        f"another attempt of {step.name} is at work in {run.path}", hint="stair-report RUN"
                    ) from None
                time.sleep(1.0)
        yield


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
