"""The processes of a launch, watched from outside: who lives, who died when, who has been asked to stop.

Takes the notes that the processes leave (rank.py) and /proc, hands on a note for each with its end. The
surprise: torchrun's agent keeps their process ids to itself, so the notes tell them; and a process is only
ever signalled while it is a child of ours.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from stair.train.rank import Note, read_notes


class Watch:
    """The processes of this node, as their notes and /proc tell of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: set[int] = set()
        self.died: dict[int, float] = {}
        """When a process was first seen dead."""

    def look(self) -> None:
        """Notes who has died since the last look."""
        for note in read_notes(self.folder):
            if note.rank not in self.died and not _lives(note.pid):
                self.died[note.rank] = time.time()

    def tell_all(self) -> None:
        """Asks every process once to stop, also those that started since the last call."""
        for note in read_notes(self.folder):
            if note.rank not in self.told and note.code is None and _lives(note.pid):
                self.told.add(note.rank)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(note.pid, signal.SIGTERM)

    def last_notes(self, codes: Mapping[int, int]) -> list[Note]:
        """A note for every process that said anything or failed, with the agent's word on how it ended."""
        notes = {note.rank: note for note in read_notes(self.folder)}
        for rank, code in codes.items():
            note = notes.get(rank, Note(rank, 0))
            if code < 0 or note.code is None:  # killed, perhaps after it had said goodbye
                ended = note.time or self.died.get(rank, time.time())
                notes[rank] = replace(note, code=code, time=ended)
        # What the agent counts as well ended and no note speaks of could not write it: it ended with 0.
        return [replace(note, code=note.code or 0) for note in notes.values()]


def _lives(pid: int) -> bool:
    """Whether our child `pid` still runs: a number that went to another process is not our child."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (OSError, ValueError):
        return False
    return int(parent) == os.getpid() and state != "Z"
