"""One process with a time limit: how it ended is a fact, whatever it did.

Takes an argv, hands on an Ended. What is measured here may hang in a driver or crash, and both must cost no
more than the limit. The surprise: a process stuck in the kernel cannot be killed at all; after a while it is
left alone, which is why its words go to files and not through pipes that somebody would wait for.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TypeVar

from stair.errors import StairError
from stair.interrupts import held_interrupts

GRACE_S = 3.0
"""Between asking a process to end and killing it, and between that and giving it up."""
T = TypeVar("T")
_living: set[subprocess.Popen[bytes]] = set()


@dataclass(frozen=True)
class Ended:
    """What became of a process."""

    code: int | None
    """As subprocess gives it, negative for signals; None: it was ended at the time limit."""
    out: str
    err: str
    seconds: float

    @property
    def signal(self) -> int | None:
        """The signal that it died of; a container or a shell around it says 128 + signal."""
        if self.code is None or 0 <= self.code <= 128 or self.code - 128 > signal.NSIG:
            return None
        return -self.code if self.code < 0 else self.code - 128

    @property
    def last_words(self) -> str:
        """The last line of stderr, or of stdout."""
        lines = [line.strip() for line in (self.err.strip() or self.out.strip()).splitlines()]
        return lines[-1][:500] if lines else "it said nothing"


def run(argv: Sequence[str], environment: Mapping[str, str], limit_s: float) -> Ended:
    """Runs a program to its end or to the limit. Raises StairError when there is no such program."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        child = code = None
        try:
            with held_interrupts():
                child = _start(argv, environment, out, err)
                _living.add(child)
            code = child.wait(limit_s)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if child is not None:
                if code is None:
                    _end(child)
                _living.discard(child)
        seconds = time.monotonic() - started
        words = []
        for file in (out, err):
            file.seek(0)
            words.append(file.read().decode(errors="replace"))
        return Ended(code, words[0], words[1], seconds)


def at_once(jobs: Sequence[Callable[[], T]], count: int) -> list[T]:
    """What all of them return, `count` at a time. What interrupts us ends their processes first."""
    pool = ThreadPoolExecutor(count)
    futures: list[Future[T]] = []
    try:
        with held_interrupts():
            futures += [pool.submit(job) for job in jobs]
        return [future.result() for future in futures]
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        while not all(future.done() for future in futures):
            for child in tuple(_living):  # and the next time those that were just about to be started
                _signal(child, signal.SIGKILL)
            time.sleep(0.05)
        raise
    finally:
        pool.shutdown()


def _start(
    argv: Sequence[str], environment: Mapping[str, str], out: IO[bytes], err: IO[bytes]
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=dict(environment),
            cwd="/",  # a working folder is bound into an image by itself, and this one is always there
            start_new_session=True,
        )
    except OSError as error:
        raise StairError(
            f"{argv[0]} cannot be started: {error.strerror}", hint="is it installed, and on PATH?"
        ) from None


def _end(child: subprocess.Popen[bytes]) -> None:
    _signal(child, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_S)
    _signal(child, signal.SIGKILL)  # one that did not listen, and what others left behind of their group
    with suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_S)


def _signal(child: subprocess.Popen[bytes], what: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, what)
