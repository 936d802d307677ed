"""Interrupts at the end of a block, and none that is lost."""

from __future__ import annotations

import signal
import subprocess
import threading

import pytest

from stair.interrupts import NUMBERS, born_deaf, ends_as_interrupt, held_interrupts

pytestmark = pytest.mark.usefixtures("heard_interrupts")


def handlers() -> list:
    return [signal.getsignal(number) for number in NUMBERS]


def test_an_interrupt_comes_when_the_block_is_over_and_everything_is_as_before():
    before, steps = handlers(), []
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 (what is done in between is the point)
        with held_interrupts():
            signal.raise_signal(signal.SIGINT)
            steps.append("to the end")
        steps.append("beyond it")
    assert (steps, handlers()) == (["to the end"], before)


@pytest.mark.parametrize("number", NUMBERS)
def test_what_ends_a_block_as_an_interrupt_is_held_back_in_it_too(number: signal.Signals):
    before, steps = handlers(), []
    with pytest.raises(KeyboardInterrupt), ends_as_interrupt():  # noqa: PT012
        with held_interrupts():
            signal.raise_signal(number)
            steps.append("to the end")
        steps.append("beyond it")
    assert (steps, handlers()) == (["to the end"], before)


def test_who_does_not_listen_is_not_made_to():
    before = [signal.signal(number, signal.SIG_DFL) for number in NUMBERS]
    try:
        with held_interrupts():
            assert handlers() == [signal.SIG_DFL] * len(NUMBERS)
    finally:
        for number, handler in zip(NUMBERS, before, strict=True):
            signal.signal(number, handler)


def test_a_failure_in_the_block_does_not_swallow_the_interrupt():
    with pytest.raises(KeyboardInterrupt), held_interrupts():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        raise OSError("no such program")


def test_in_another_thread_nothing_is_held_back():
    seen = []

    def beside() -> None:
        with held_interrupts(), ends_as_interrupt():
            seen.append(handlers())

    thread = threading.Thread(target=beside)
    thread.start()
    thread.join()
    assert seen == [handlers()]


def test_a_child_has_the_signal_blocked_and_here_it_waits():
    with pytest.raises(KeyboardInterrupt), born_deaf(signal.SIGINT):  # noqa: PT012
        told = subprocess.run(["grep", "SigBlk", "/proc/self/status"], capture_output=True, text=True)
        signal.raise_signal(signal.SIGINT)
        assert int(told.stdout.split()[1], 16) & 1 << (signal.SIGINT - 1)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
