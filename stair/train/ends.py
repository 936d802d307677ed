"""How the processes of a launch ended becomes one exit code and one process to name; pure.

Takes a note per rank, hands on a Cause. The surprise: who is first by the clock need not be the cause. Those
who lost a peer never are while anybody else failed, nor those whom torchrun's agent then told to end with
SIGTERM; and a killed process leaves no time of its own.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from stair.errors import FAILED, FINE, WRONG_USE
from stair.train.__main__ import BUG, LOST_PEER
from stair.train.rank import Note
from stair.train.stop import TRY_AGAIN

HEAD_START_S = 0.5
"""A killed process is seen to be dead only at the next look: it counts as having ended so much earlier."""
GO_ON = "started again, the run goes on from its newest checkpoint"


@dataclass(frozen=True)
class Cause:
    """What a launch came to, on this node."""

    code: int
    first: Note | None = None
    """The process that failed first; None when none did."""
    what: str = ""
    hint: str = ""


def find_cause(notes: Sequence[Note], world: int) -> Cause:
    """The exit code of a launch whose processes have all ended, and whose fault it was. `world` is their
    number on all nodes."""
    failed = [note for note in notes if note.code not in (FINE, TRY_AGAIN)]
    if not failed:
        return Cause(TRY_AGAIN if any(note.code == TRY_AGAIN for note in notes) else FINE)
    causes = [note for note in failed if note.code not in (LOST_PEER, -signal.SIGTERM)]
    first = min(causes or failed, key=lambda note: (_ended(note), note.rank))
    code, who = first.code or 0, f"rank {first.rank} of {world}"
    if code < 0:
        what = f"{who} was killed by {signal_name(-code)}"
        memory = ", often for want of memory: the node's kernel log knows" if -code == signal.SIGKILL else ""
        return Cause(LOST_PEER, first, what + memory, f"look at its log; {GO_ON}")
    if code == LOST_PEER:
        more = f" (and {len(failed) - 1} more here)" if failed[1:] else ""
        hint = f"the cause is in the log of another node; {GO_ON}"
        return Cause(code, first, (first.what or f"{who} lost another one") + more, hint)
    said = first.what or "it said nothing"
    known = code if code in (FAILED, WRONG_USE) else BUG
    return Cause(known, first, f"{who} failed first, exit {code}: {said}", first.hint)


def signal_name(number: int) -> str:
    """SIGKILL for 9; real-time signals have no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _ended(note: Note) -> float:
    return note.time - (HEAD_START_S if (note.code or 0) < 0 else 0.0)
