"""A process that hangs, crashes, ignores SIGTERM or leaves children costs no more than its limit."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from stair.doctor.deep import child
from stair.doctor.deep.child import at_once, run
from stair.errors import StairError


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch):
    monkeypatch.setattr(child, "GRACE_S", 0.3)


def test_what_was_said_and_how_it_ended_are_handed_on():
    ended = run(["sh", "-c", "echo out; echo err >&2; exit 3"], os.environ, 10)
    assert (ended.code, ended.out, ended.err, ended.signal) == (3, "out\n", "err\n", None)
    assert ended.last_words == "err"


def test_a_crash_is_the_signal_it_died_of_also_where_a_container_reports_it():
    assert run(["sh", "-c", "kill -SEGV $$"], os.environ, 10).signal == 11
    assert run(["sh", "-c", "exit 139"], os.environ, 10).signal == 11
    assert run(["sh", "-c", "exit 255"], os.environ, 10).signal is None


def test_a_hang_that_ignores_sigterm_ends_at_the_limit_and_keeps_its_words():
    started = time.monotonic()
    ended = run(["sh", "-c", "trap '' TERM; echo here; sleep 60"], os.environ, 1.0)
    assert (ended.code, ended.out, ended.signal) == (None, "here\n", None)
    assert time.monotonic() - started < 10


def test_children_of_a_hang_do_not_outlive_it(tmp_path):
    ended = run(["sh", "-c", f"sleep 60 & echo $! > {tmp_path}/pid; wait"], os.environ, 1.0)
    assert ended.code is None
    pid = (tmp_path / "pid").read_text().strip()
    for _ in range(50):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().split()[2]
        except FileNotFoundError:
            break
        if state == "Z":
            break
        time.sleep(0.1)
    else:
        pytest.fail("sleep lives on")


def test_a_program_that_is_not_there_is_said_by_name():
    with pytest.raises(StairError, match="no-such-program cannot be started"):
        run(["no-such-program"], os.environ, 1.0)


@pytest.mark.usefixtures("heard_interrupts")
def test_what_runs_at_once_keeps_its_order_and_an_interrupt_ends_it_all():
    assert at_once([lambda n=n: n for n in range(5)], 2) == [0, 1, 2, 3, 4]
    started = time.monotonic()
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        at_once([lambda: run(["sleep", "60"], os.environ, 60)] * 3, 2)
    assert time.monotonic() - started < 20
