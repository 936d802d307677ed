"""`python -m stair.submit.supervise PLAN STEP [--offset N]`: what a batch script on Slurm becomes.

Takes the plan and the name of a step, hands on what one attempt of it (attempt.py) came to. It runs on the
first node, on the host, where scontrol is; the work itself runs in one srun step with a task per node
(node.py). The surprise: Slurm may signal this process, the srun step, or both, once or several times; the
first word counts, and none may come too late to be survived.
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
from pathlib import Path

from stair.cluster.ledger import attempts_file
from stair.console import run_command, say
from stair.errors import FAILED, FINE, StairError
from stair.rundir import RunDir, make_folder
from stair.submit.attempt import Attempting, Replaced
from stair.submit.claim import Watch, claim, is_cancelled, is_replaced
from stair.submit.markers import is_done
from stair.submit.plan import Step, read_plan
from stair.submit.seat import read_seat
from stair.submit.stepping import WARNINGS

LOCK_WAIT_S = 120.0
"""How long the attempt before may take to go away once another one has begun."""


class Ears:
    """Hears the signals to the batch script; the first one is remembered, the others change nothing."""

    def __init__(self) -> None:
        self.first: int | None = None
        for number in WARNINGS:
            signal.signal(number, self._hear)

    def _hear(self, number: int, frame: object) -> None:
        self.first = self.first or number


def deafen() -> None:
    """Lets signals change nothing any more. While Python ends, handlers are gone and a signal would kill it:
    a job whose step is done would have failed for all who wait for it."""
    for number in WARNINGS:
        signal.signal(number, signal.SIG_IGN)


def main(words: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Runs one attempt of a step. Returns 0 when the step is done, 75 when its next attempt is arranged, and
    1 when it ended badly; of what is sent again as another job, members of an array return 0."""
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
    if not is_done(step):
        if is_cancelled(run):
            say(f"{step.name}: its run was cancelled; nothing is begun")
            return FAILED
        claim(run, step, seat)
    replaced = Watch(run, step, seat)
    with _alone(run, step, replaced):
        if is_done(step):
            say(f"{step.name}: finished earlier, skipped")
            return FINE
        try:
            if is_replaced(run, step, seat):
                raise Replaced
            return Attempting(plan, step, run, seat, replaced, lambda: ears.first).make()
        except Replaced:
            say(f"{step.name}: another attempt has taken its place; nothing more is done here")
            return FAILED


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
    code = run_command(lambda: main(sys.argv[1:]))
    deafen()
    sys.exit(code)
