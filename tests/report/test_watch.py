"""Watching a run: until it ends, politely, and without harm when it is left."""

from __future__ import annotations

import itertools
import os
import pty
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from stair.report.status import RunStatus, judge
from stair.report.watch import pauses, watch
from tests.report.runs import NOW, a_job, an_attempt, evidence, mark_done, write_run

DONE = {name: {None: 1.0} for name in ("stage1", "stage2", "eval")}
AT_WORK = judge(evidence(an_attempt()), {"12": a_job("12")}, NOW)
LATER = judge(evidence(an_attempt()), {"12": a_job("12")}, NOW + 60)
OVER = judge(evidence(done=DONE), {}, NOW)


def test_a_log_gets_a_line_per_change(capsys: pytest.CaptureFixture):
    looks = iter([AT_WORK, LATER, OVER])
    waited: list[float] = []
    assert watch(lambda: next(looks), pause=waited.append) is OVER
    said = capsys.readouterr().err.splitlines()
    assert sum("stage1: running on n[1-2]" in line for line in said) == 1
    assert sum("stage1: done in 1 s" in line for line in said) == 1
    assert waited == [2.0, pytest.approx(2.6)]


def test_looks_become_rarer_but_not_too_rare():
    first = list(itertools.islice(pauses(), 30))
    assert (first[0], first[-1]) == (2.0, 10.0)
    assert all(before <= after for before, after in pairwise(first))


def test_ctrl_c_leaves_the_run_alone(capsys: pytest.CaptureFixture):
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    assert watch(lambda: AT_WORK, pause=interrupted) is AT_WORK
    assert "the run goes on" in capsys.readouterr().err


def test_on_a_terminal_the_status_is_redrawn_until_the_end(tmp_path: Path):
    """A real terminal, a run that ends while it is watched."""
    write_run(tmp_path, {"name": "stage1"}, executor="local")
    (tmp_path / "logs").mkdir()
    seen = tmp_path / "seen"
    held = f"""
import fcntl, sys, threading, time
from pathlib import Path
from tests.report.runs import mark_done
from stair.report.cli import main
lock = open({str(tmp_path / "logs" / "worker.lock")!r}, "a")
fcntl.flock(lock, fcntl.LOCK_EX)
def end():
    while not Path({str(seen)!r}).exists():
        time.sleep(0.02)
    mark_done(Path({str(tmp_path / "stage1")!r}))
    lock.close()
threading.Thread(target=end).start()
sys.exit(main([{str(tmp_path)!r}, "--watch"]))
"""
    leader, follower = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", held], stdout=follower, stderr=follower, stdin=follower)
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        shown += piece
        if b"running on this machine" in shown:
            seen.touch()
    os.close(leader)
    assert process.wait(timeout=240) == 0, shown
    assert b"running on this machine" in shown
    assert b"done in 2 min" in shown


def test_a_watch_starts_with_a_run_that_is_over(tmp_path: Path):
    write_run(tmp_path, {"name": "stage1"}, executor="local")
    mark_done(tmp_path / "stage1")
    seen: list[float] = []

    def once() -> RunStatus:
        return OVER

    assert watch(once, pause=seen.append) is OVER
    assert not seen
