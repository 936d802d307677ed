"""A process that hangs, crashes, ignores SIGTERM or leaves children costs no more than its limit."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from functools import partial
from types import SimpleNamespace

import pytest

from stair.doctor.deep import child
from stair.doctor.deep.child import at_once, run
from stair.errors import StairError
from tests.processes import is_running, limited_from, said, wait_for


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch):
    monkeypatch.setattr(child, "GRACE_S", 0.3)


def test_what_was_said_and_how_it_ended_are_handed_on():
    ended = run(["sh", "-c", "echo out; echo err >&2; exit 3"], os.environ, 60)
    assert (ended.code, ended.out, ended.err, ended.signal) == (3, "out\n", "err\n", None)
    assert ended.last_words == "err"


def test_a_crash_is_the_signal_it_died_of_also_where_a_container_reports_it():
    assert run(["sh", "-c", "kill -SEGV $$"], os.environ, 60).signal == 11
    assert run(["sh", "-c", "exit 139"], os.environ, 60).signal == 11
    assert run(["sh", "-c", "exit 255"], os.environ, 60).signal is None


def test_a_hang_that_ignores_sigterm_ends_at_the_limit_and_keeps_its_words(tmp_path, monkeypatch):
    mark = tmp_path / "mark"
    monkeypatch.setattr(child.subprocess, "Popen", limited_from(mark.exists))
    started = time.monotonic()
    ended = run(["sh", "-c", f"trap '' TERM; echo here; : > {mark}; sleep 600"], os.environ, 0.5)
    assert (ended.code, ended.out, ended.signal) == (None, "here\n", None)
    assert time.monotonic() - started < 100


def test_children_of_a_hang_do_not_outlive_it(tmp_path, monkeypatch):
    told = tmp_path / "pid"
    monkeypatch.setattr(child.subprocess, "Popen", limited_from(lambda: said(told)))
    ended = run(["sh", "-c", f"sleep 600 & echo $! > {told}; wait"], os.environ, 0.5)
    assert ended.code is None
    wait_for(lambda: not is_running(told.read_text().strip()))


def test_a_program_that_is_not_there_is_said_by_name():
    with pytest.raises(StairError, match="no-such-program cannot be started"):
        run(["no-such-program"], os.environ, 1.0)


def test_what_runs_at_once_keeps_its_order():
    assert at_once([lambda n=n: n for n in range(5)], 2) == [0, 1, 2, 3, 4]


@pytest.mark.usefixtures("heard_interrupts")
def test_an_interrupt_ends_all_that_runs_at_once_and_starts_no_more(tmp_path):
    def hang(number: int) -> None:
        run(["sh", "-c", f"echo $$ > {tmp_path}/{number}; exec sleep 600"], os.environ, 600)

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted_when(lambda: said(tmp_path / "0") and said(tmp_path / "1"), hang)
    assert time.monotonic() - started < 200
    pids = [path.read_text().strip() for path in tmp_path.iterdir()]
    assert len(pids) == 2
    assert not any(map(is_running, pids))


@pytest.mark.usefixtures("heard_interrupts")
def test_a_process_that_was_just_being_started_is_ended_too(tmp_path, monkeypatch):
    """The interrupt comes while one thread has a process that nobody knows yet, and another is to begin."""
    starting, go_on = threading.Event(), threading.Event()

    class Slow(subprocess.Popen):
        def __init__(self, *given, **more):
            super().__init__(*given, **more)
            starting.set()
            go_on.wait(60)

    monkeypatch.setattr(child.subprocess, "Popen", Slow)
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: go_on.set())
    monkeypatch.setattr(child, "time", clock)  # it sleeps when all that it knows of have been ended
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted_when(starting.is_set, lambda number: run(["sleep", "600"], os.environ, 600))
    assert time.monotonic() - started < 200


@pytest.mark.usefixtures("heard_interrupts")
def test_an_interrupt_while_a_process_is_being_started_ends_it(monkeypatch):
    made = []

    class Interrupted(subprocess.Popen):
        def __init__(self, *given, **more):
            super().__init__(*given, **more)
            made.append(self)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(child.subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(["sleep", "600"], os.environ, 600)
    assert made[0].wait(60) == -signal.SIGTERM


def interrupted_when(condition, job) -> None:
    """Three jobs, two at once; Ctrl-C once the condition is true, and not before they were begun."""

    def interrupt() -> None:
        wait_for(condition)
        os.kill(os.getpid(), signal.SIGINT)

    beside = threading.Thread(target=interrupt)
    beside.start()
    try:
        at_once([partial(job, number) for number in range(3)], 2)
    finally:
        beside.join()
