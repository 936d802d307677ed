"""Who works on a step: the attempt that began last.

Takes a step and the seat of a supervisor, hands on a small file in the run folder that names it. A node
whose network was cut goes on for a while with a job that Slurm has long started elsewhere; nobody can tell
it so but the shared file system. The surprise: a lock does not do. It stays with the one who is cut off, and
the new attempt would wait for it; here the newest wins, and whoever finds another's name ends itself. So does
whoever finds that a person has cancelled the run.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from stair.cluster.ledger import attempts_file
from stair.rundir import RunDir, write_json
from stair.submit.plan import Step
from stair.submit.seat import Seat

LOOK_S = 2.0
"""How often an attempt looks whether it was replaced; a file of hundred bytes on a shared file system."""


def claim_file(run: RunDir, step: Step) -> Path:
    """Where the newest attempt of a step, or of one member of it, leaves its name."""
    return attempts_file(run, step.name, step.member).with_suffix(".claim")


def claim(run: RunDir, step: Step, seat: Seat) -> None:
    """Takes the step over from whoever has it, but for a later attempt of the same job: this node may have
    stood still on its way here. Raises StairError on a full disk."""
    job, _, restart = _holder(run, step).rpartition(".")
    if job == seat.job and restart.isdecimal() and int(restart) > seat.restart:
        return
    write_json(claim_file(run, step), {"attempt": _name(seat), "node": seat.nodes[0], "time": time.time()})


def is_replaced(run: RunDir, step: Step, seat: Seat) -> bool:
    """Whether another attempt has taken the step over. A file that cannot be read says nothing."""
    return _holder(run, step) not in ("", _name(seat))


def is_cancelled(run: RunDir) -> bool:
    """Whether a person has ended the run, so that nothing of it is to begin again (cancel.py)."""
    try:
        # Opened, not looked at: only that makes a shared file system ask its server.
        with (run.path / "cancelled").open("rb"):
            return True
    except OSError:
        return False


class Watch:
    """Asks `is_replaced` now and then; call it as often as you like."""

    def __init__(self, run: RunDir, step: Step, seat: Seat, every_s: float = LOOK_S) -> None:
        self.run, self.step, self.seat, self.every_s = run, step, seat, every_s
        self.asked = time.monotonic()
        self.replaced = False

    def __call__(self) -> bool:
        now = time.monotonic()
        if not self.replaced and now - self.asked >= self.every_s:
            self.asked = now
            self.replaced = is_replaced(self.run, self.step, self.seat)
        return self.replaced


def _holder(run: RunDir, step: Step) -> str:
    """The attempt that has the step; empty when none has, or the file does not tell."""
    try:
        return str(json.loads(claim_file(run, step).read_text())["attempt"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _name(seat: Seat) -> str:
    return f"{seat.job}.{seat.restart}"
