"""Being interrupted in order: whoever starts processes ends them, whenever Ctrl-C comes.

Blocks in which processes are started. The first two are for the main thread; in another one, which Python
never interrupts, they do nothing. The surprise: Ctrl-C in the middle of `Popen` leaves a process of which
nobody has the number, and one in a session of its own does not hear Ctrl-C itself; and one that is not meant
to hear it does until it has come so far as to ignore it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ends_as_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP end a block as Ctrl-C does, so that it can tidy up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def held_interrupts() -> Iterator[None]:
    """What would interrupt this short block is held back, and interrupts at its end. Processes started inside
    hear signals as ever; what ends the program at once, because nothing here listens to it, still does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    before = {number: signal.getsignal(number) for number in NUMBERS}
    before = {number: handler for number, handler in before.items() if callable(handler)}
    try:
        for number in before:
            signal.signal(number, lambda which, _: heard.append(which))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in dict.fromkeys(heard):
            signal.raise_signal(number)


@contextmanager
def born_deaf(*numbers: signal.Signals) -> Iterator[None]:
    """Processes started inside have these signals blocked from their first moment, until they unblock them:
    before they know what to do with one it would be their end. Here a signal waits for the end of the block.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
