"""`python -m stair.train.rank`: one process of a launch; started by launch.py, never by people.

Takes its words from a file of the launcher's, because torchrun's agent would change some on their way, and
leaves beside it a note that it lives and one of how it ended. The surprise: to the agent a process that saved
itself on request ends with 0. Any other code would make it kill the others, which may still be writing.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from stair.parent import die_with_parent
from stair.rundir import write_json
from stair.train.__main__ import LAUNCHER, End, main
from stair.train.stop import TRY_AGAIN, StopRequest

FOLDER = "STAIR_LAUNCH_FOLDER"
"""Where launcher and ranks leave notes for each other."""
WORDS = "words.json"


@dataclass(frozen=True)
class Note:
    """What is known of one process of a launch."""

    rank: int
    pid: int
    log: str = ""
    """Where its stderr goes; empty: to the launcher's."""
    code: int | None = None
    """Exit code, negative for the signal that killed it; None while it runs."""
    time: float = 0.0
    """When it ended, in seconds since 1970."""
    what: str = ""
    hint: str = ""


def write_note(folder: Path, note: Note) -> None:
    """Replaces a rank's note."""
    write_json(folder / f"rank-{note.rank}.json", asdict(note))


def read_notes(folder: Path) -> list[Note]:
    """Every rank that has said anything, by rank."""
    notes = [Note(**json.loads(path.read_text())) for path in folder.glob("rank-*.json")]
    return sorted(notes, key=lambda note: note.rank)


def follow_to_death(launcher: int) -> None:
    """Ends this process for certain when its launcher is killed (Linux): nobody else would end it."""
    if sys.platform == "linux":
        die_with_parent(signal.SIGKILL)
        if os.getppid() != launcher:  # it died before that
            os._exit(1)


def own_log() -> str:
    """The file of this process's stderr, which torchrun's agent puts beside the error file it names."""
    named = os.environ.get("TORCHELASTIC_ERROR_FILE", "")
    log = Path(named).parent / "stderr.log"
    return str(log) if named and log.exists() else ""


def run_rank() -> int:
    """Trains as the launcher's words say. Returns the exit code that the agent shall see."""
    follow_to_death(int(os.environ[LAUNCHER]))
    stop = StopRequest().listen()
    folder = Path(os.environ[FOLDER])
    note = Note(int(os.environ["RANK"]), os.getpid(), own_log())
    write_note(folder, note)

    def ended(end: End) -> None:
        stop.deaf()
        with contextlib.suppress(Exception):  # the exit code alone must do then
            write_note(folder, replace(note, code=end.code, time=time.time(), what=end.what, hint=end.hint))

    code = main(json.loads((folder / WORDS).read_text()), stop, ended)
    stop.deaf()
    return 0 if code == TRY_AGAIN else code


if __name__ == "__main__":
    sys.exit(run_rank())
