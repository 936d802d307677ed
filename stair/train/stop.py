"""A polite end: SIGTERM or SIGUSR2 asks the run to save itself and leave.

The handler only sets a flag; the training loop reads it at a step boundary, together with all other
processes. Signals may come twice or in any order (container runtimes forward what the process group
already got): the second one changes nothing.
"""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

TRY_AGAIN = 75
"""Exit code (EX_TEMPFAIL) of a run that saved itself when asked to stop: start it again and it goes on."""

SIGNALS = (signal.SIGTERM, signal.SIGUSR2)


class StopRequest:
    """While entered, `wanted` tells whether somebody asked this process to stop."""

    def __init__(self) -> None:
        self.wanted = False
        self.earlier: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        for number in SIGNALS:
            self.earlier[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.earlier.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True
