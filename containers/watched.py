"""Programs that build for minutes: what they say goes into a log, and one that has stalled is ended.

Takes the words of one program, or of two with a pipe between, hands on exit statuses. The surprise: the log
is read back as a file. Read through a pipe, a build would last as long as any daemon that it leaves behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from stair.console import say
from stair.errors import StairError
from stair.interrupts import held_interrupts

SILENT_S = 300.0
"""How long a program may say nothing."""
SQUASHING_S = 3600.0
"""The same for squashing gigabytes into an image, which is done in silence."""
SQUASHING = "Creating SIF file"
POLL_S = 0.2


class Stalled(StairError):
    """A program said nothing for so long that it was ended."""


def run_watched(
    *programs: Sequence[str],
    log: Path,
    environment: Mapping[str, str],
    cwd: Path | None = None,
    heard: Callable[[str], None] = lambda line: None,
    silent_s: float = SILENT_S,
) -> list[int]:
    """Runs programs joined by pipes until all have ended; `heard` is told every line that the log gains.

    Raises Stalled when nothing was said for `silent_s`; whatever they had started is ended then, and also
    when the caller is interrupted.
    """
    with log.open("ab") as said, log.open(errors="replace") as file:
        file.seek(0, os.SEEK_END)
        lines = _Lines(file)
        children: list[subprocess.Popen[bytes]] = []
        try:
            for number, words in enumerate(programs, 1):
                with held_interrupts():
                    children.append(
                        subprocess.Popen(
                            words,
                            env=dict(environment),
                            cwd=cwd,
                            stdin=children[-1].stdout if children else subprocess.DEVNULL,
                            stdout=said if number == len(programs) else subprocess.PIPE,
                            stderr=said,
                            start_new_session=True,
                        )
                    )
            for child in children:
                if child.stdout:
                    child.stdout.close()  # its reader's alone: should that end early, the writer must notice
            _listen(children, lines, heard, silent_s)
        except Stalled as error:
            raise Stalled(f"{programs[0][0]} {error.what}", hint=f"{error.hint}; its log is {log}") from None
        finally:
            for child in children:
                _end(child)
        for line in [*lines.new(), *lines.rest()]:
            heard(line)
    return [child.wait() for child in children]


class _Lines:
    """The lines of a file that grows, each when it is whole."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.begun = file, ""

    def new(self) -> list[str]:
        *whole, self.begun = (self.begun + self.file.read()).split("\n")
        return whole

    def rest(self) -> list[str]:
        return [self.begun] if self.begun else []


def twice(work: Callable[[], list[int]]) -> list[int]:
    """Does it again where it has stalled once: most often a mirror that answers the second time."""
    try:
        return work()
    except Stalled as error:
        say(f"  {error.what}; trying once more")
        return work()


def _listen(
    children: Sequence[subprocess.Popen[bytes]],
    lines: _Lines,
    heard: Callable[[str], None],
    silent_s: float,
) -> None:
    last, spoke = "", time.monotonic()
    while any(child.poll() is None for child in children):
        for line in lines.new():
            last, spoke = line.strip() or last, time.monotonic()
            heard(line)
        patience_s = SQUASHING_S if SQUASHING in last else silent_s
        if time.monotonic() - spoke > patience_s:
            raise Stalled(
                f"has said nothing for {patience_s:.0f} s and was ended; its last line: {last or '(none)'}",
                hint="try again; a mirror or package index that does not answer is the usual cause",
            )
        time.sleep(POLL_S)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ends a child that still runs, with everything that it started in its session."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
