"""One child process of the worker: started with a log, told to leave, and ended for certain.

A child leads its own session, so that a Ctrl-C in the terminal reaches only those who wait. It is told
when its parent dies (Linux), so that a killed worker leaves no server behind on a GPU.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from stair.errors import StairError
from stair.parent import die_with_parent
from stair.rundir import make_folder


class Child:
    """A running command whose output goes to the end of `log`. Raises StairError if it cannot start."""

    def __init__(self, argv: Sequence[str], *, log: Path, cwd: str, environment: Mapping[str, str]) -> None:
        make_folder(log.parent)
        self.argv = tuple(argv)
        self.log = log
        self.start_of_log = log.stat().st_size if log.exists() else 0
        try:
            with log.open("ab") as output:
                self.process = subprocess.Popen(
                    argv,
                    cwd=cwd,
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=partial(_follow, os.getpid()) if sys.platform == "linux" else None,
                )
        except OSError as error:
            raise StairError(f"cannot start {argv[0]}: {error.strerror}", hint="is it installed?") from None

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self.process.poll()

    def tell_to_leave(self) -> None:
        """SIGTERM: a trainer saves itself, a server closes its port."""
        if self.process.poll() is None:
            self.process.terminate()

    def end(self, grace_s: float) -> int:
        """Tells it to leave, waits `grace_s`, and ends whatever is left of its session."""
        self.tell_to_leave()
        deadline = time.monotonic() + grace_s
        while self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()

    def last_words(self, mark: str = "error: ") -> StairError:
        """What its log says about its end: the error it printed after `mark`, or its last line."""
        return read_last_words(self._said(), mark)

    def explained(self) -> bool:
        """Whether it said what went wrong: an error of ours, or a traceback."""
        return any(line.startswith(("error: ", "Traceback (most")) for line in self._said())

    def _said(self) -> list[str]:
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self.start_of_log, size - 20_000))
            return file.read().decode(errors="replace").splitlines()


def read_last_words(lines: Sequence[str], mark: str = "error: ") -> StairError:
    """The last `error:` of a log with the hint below it, or the last line that says anything."""
    for place in range(len(lines) - 1, -1, -1):
        if lines[place].startswith(mark):
            hint = lines[place + 1].strip() if place + 1 < len(lines) else ""
            said = hint.removeprefix("try: ") if hint.startswith("try: ") else ""
            return StairError(lines[place].removeprefix(mark).strip(), hint=said)
    spoken = [line.strip() for line in lines if line.strip() and not line.startswith("── ")]  # not ours
    return StairError(spoken[-1] if spoken else "it said nothing")


def _follow(parent: int) -> None:
    die_with_parent(signal.SIGTERM)
    if os.getppid() != parent:  # it died before that was arranged, and of this nobody will hear
        os._exit(1)
