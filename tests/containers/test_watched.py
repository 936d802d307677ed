"""Long programs are watched: what they say is heard, and one that has stalled is ended."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from containers.watched import Stalled, run_watched, twice
from tests.processes import is_running


def test_every_line_is_heard_and_logged_after_what_stood_there(tmp_path: Path):
    log, heard = tmp_path / "log", []
    log.write_text("before\n")
    words = ["sh", "-c", "echo one; echo two >&2; printf three; exit 4"]
    assert run_watched(words, log=log, environment=os.environ, heard=heard.append) == [4]
    assert heard == ["one", "two", "three"]
    assert log.read_text() == "before\none\ntwo\nthree"


def test_what_has_stalled_is_ended_with_its_children_and_its_last_line_is_told(tmp_path: Path):
    log = tmp_path / "log"
    words = ["sh", "-c", f"echo fetching; sleep 60 & echo $! > {tmp_path}/pid; wait"]
    with pytest.raises(Stalled, match=r"sh has said nothing for 1 s .* last line: fetching") as caught:
        run_watched(words, log=log, environment=os.environ, silent_s=1.0)
    assert str(log) in caught.value.hint
    child = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(child)


def test_a_daemon_that_keeps_the_log_open_is_not_waited_for(tmp_path: Path):
    started = time.monotonic()
    words = ["sh", "-c", f"setsid sleep 60 & echo $! > {tmp_path}/pid; echo done"]
    assert run_watched(words, log=tmp_path / "log", environment=os.environ) == [0]
    assert time.monotonic() - started < 30
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
