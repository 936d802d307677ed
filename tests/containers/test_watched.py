"""Long programs are watched: what they say is heard, and one that has stalled is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from containers import watched
from containers.watched import Stalled, run_watched, twice
from tests.processes import is_running, said, wait_for


def test_every_line_is_heard_and_logged_after_what_stood_there(tmp_path: Path):
    log, heard = tmp_path / "log", []
    log.write_text("before\n")
    words = ["sh", "-c", "echo one; echo two >&2; printf three; exit 4"]
    assert run_watched(words, log=log, environment=os.environ, heard=heard.append) == [4]
    assert heard == ["one", "two", "three"]
    assert log.read_text() == "before\none\ntwo\nthree"


def test_what_has_stalled_is_ended_with_its_children_and_its_last_line_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    log, pid, now = tmp_path / "log", tmp_path / "pid", [0.0]

    def sleep(seconds: float) -> None:
        time.sleep(seconds)
        now[0] += seconds if said(pid) else 0.0  # silence begins when the program has come that far

    monkeypatch.setattr(watched, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    words = ["sh", "-c", f"echo fetching; sleep 600 & echo $! > {pid}; wait"]
    with pytest.raises(Stalled, match=r"sh has said nothing for 1 s .* last line: fetching") as caught:
        run_watched(words, log=log, environment=os.environ, silent_s=1.0)
    assert str(log) in caught.value.hint
    wait_for(lambda: not is_running(pid.read_text().strip()))


@pytest.mark.usefixtures("heard_interrupts")
def test_an_interrupt_while_a_program_is_being_started_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made = []

    class Interrupted(subprocess.Popen):
        def __init__(self, *given, **more):
            super().__init__(*given, **more)
            made.append(self.pid)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(watched.subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_watched(["sleep", "600"], ["cat"], log=tmp_path / "log", environment=os.environ)
    assert len(made) == 1
    assert not is_running(made[0])


def test_a_daemon_that_keeps_the_log_open_is_not_waited_for(tmp_path: Path):
    started = time.monotonic()
    words = ["sh", "-c", f"setsid sleep 600 & echo $! > {tmp_path}/pid; echo done"]
    assert run_watched(words, log=tmp_path / "log", environment=os.environ) == [0]
    assert time.monotonic() - started < 300
    os.kill(int((tmp_path / "pid").read_text()), 9)


def test_a_writer_ends_with_its_reader(tmp_path: Path):
    statuses = run_watched(["yes"], ["false"], log=tmp_path / "log", environment=os.environ)
    assert statuses == [-13, 1]


def test_what_stalled_once_is_tried_once_more(tmp_path: Path):
    tries = []

    def work() -> list[int]:
        tries.append(len(tries))
        if len(tries) < failing + 1:
            raise Stalled("mmdebstrap has said nothing")
        return [0]

    failing = 1
    assert twice(work) == [0]
    failing = 9
    with pytest.raises(Stalled):
        twice(work)
    assert len(tries) == 4
