"""A polite end: SIGTERM, SIGUSR1 or SIGUSR2 asks the run to save itself and leave.

The handler only sets a flag; the training loop reads it at a step boundary, together with all other
processes. Signals come once, twice or three times, in any order: Slurm tells every process of a job, and the
launcher and the container runtime tell the same ones again. Only the first one changes anything.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from types import FrameType, TracebackType

TRY_AGAIN = 75
"""Exit code (EX_TEMPFAIL) of a run that saved itself when asked to stop: start it again and it goes on."""

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class StopRequest:
    """`wanted` tells whether somebody asked this process to stop: for good, or while entered."""

    def __init__(self, numbers: Iterable[int] = SIGNALS) -> None:
        self.wanted = False
        self.numbers = tuple(numbers)
        self.earlier: dict[int, object] = {}

    def listen(self) -> StopRequest:
        """Heeds the signals from now on, also those that were held back while this process started."""
        for number in self.numbers:
            signal.signal(number, self._note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self.numbers)
        return self

    def deaf(self) -> None:
        """Ignores the signals from now on: the exit code of a run that has ended shall stand.

        Ignored, not handled: Python gives handled signals their deadly default back while it shuts down.
        """
        for number in self.numbers:
            signal.signal(number, signal.SIG_IGN)

    def __enter__(self) -> StopRequest:
        self.earlier = {number: signal.getsignal(number) for number in self.numbers}
        return self.listen()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.earlier.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True
