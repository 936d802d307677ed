"""Runs on this machine: the worker's lock, its outcome and the manifest tell how they stand."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stair.report.facts import Cancelled, Evidence
from stair.report.local import Worker, is_locked, judge_local, read_worker
from stair.rundir import RunDir, write_json
from tests.report.runs import NOW, evidence, facts

HERE = {"submissions": 1, "submitted": NOW - 300}


def local(**more: object) -> Evidence:
    return evidence(sent=(), run=facts(executor="local"), **more)


@pytest.mark.parametrize(
    ("worker", "states", "words"),
    [
        (Worker(alive=True, **HERE), ["done", "running", "waiting"], "running on this machine"),
        (Worker(alive=True, submitted=1.0, submissions=3), ["done", "running", "waiting"], "submission 3"),
        (
            Worker(
                alive=False,
                outcome={"state": "failed", "what": "step stage2 failed, exit 1: no data"},
                **HERE,
            ),
            ["done", "failed", "unsent"],
            "failed: exit 1: no data",
        ),
        (Worker(alive=False, outcome={"state": "stopped"}, **HERE), ["done", "stopped", "unsent"], "stopped"),
        (
            Worker(alive=False, **HERE),
            ["done", "failed", "unsent"],
            "failed: its worker ended without a word",
        ),
        (Worker(alive=False, submissions=1, submitted=NOW - 5), ["done", "pending", "waiting"], "starting"),
        (Worker(alive=False), ["done", "unsent", "unsent"], "not begun"),
        (
            Worker(alive=False, elsewhere="login2", **HERE),
            ["done", "unknown", "waiting"],
            "started on login2; from here nobody can tell",
        ),
    ],
)
def test_the_first_step_that_is_not_done_tells_how_the_worker_is(
    worker: Worker, states: list[str], words: str
):
    status = judge_local(local(done={"stage1": {None: 3.0}}), worker, NOW)
    assert [step.state for step in status.steps] == states
    assert words in status.steps[1].words
    assert status.steps[0].words == "done in 3 s"


def test_a_run_that_a_person_stopped_is_cancelled():
    worker = Worker(alive=False, outcome={"state": "stopped"}, **HERE)
    status = judge_local(local(cancelled=Cancelled("ann", "now")), worker, NOW)
    assert (status.state, status.steps[0].words) == ("cancelled", "cancelled by ann at now")
    assert status.over


def test_a_finished_run_is_done_whatever_the_worker_does():
    done = {name: {None: 1.0} for name in ("stage1", "stage2", "eval")}
    assert judge_local(local(done=done), Worker(alive=False), NOW).exit_code == 0


LOCKER = """
import sys
from pathlib import Path
from stair.rundir import RunDir
from stair.submit.worker import only_worker
with only_worker(RunDir(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_real_workers_lock_is_seen_and_left_alone(tmp_path: Path):
    run = RunDir(tmp_path)
    lock = run.logs / "worker.lock"
    assert not is_locked(lock)
    words = [sys.executable, "-c", LOCKER, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert is_locked(lock)
        assert is_locked(lock, table=tmp_path / "no such table")
        assert read_worker(run).alive
        process.send_signal(signal.SIGKILL)
    assert not is_locked(lock)
    assert not is_locked(lock, table=tmp_path / "no such table")


def test_a_lock_on_a_file_of_the_same_number_on_another_disk_is_no_lock(tmp_path: Path):
    file, table = tmp_path / "worker.lock", tmp_path / "locks"
    with file.open("a"):
        its = file.stat()

        def seen(device: str, holder: int) -> bool:
            row = f"1: FLOCK  ADVISORY  WRITE {holder} {device}:{its.st_ino} 0 EOF\n"
            table.write_text("1: POSIX  ADVISORY  READ 1 00:01:77 0 EOF\n" + row)
            return is_locked(file, table)

        mine = f"{os.major(its.st_dev):02x}:{os.minor(its.st_dev):02x}"
        assert seen(mine, os.getpid())
        assert seen("ff:ff", os.getpid())  # as on btrfs: it has the file open, whatever the device is called
        assert seen("ff:ff", 0)  # whoever that is, it cannot be told from here
    assert not seen("ff:ff", os.getpid())


def test_the_table_of_locks_is_looked_at_again_before_a_lock_counts_as_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "worker.lock"
    file.touch()
    its = file.stat()
    row = f"1: FLOCK  ADVISORY  WRITE 0 ff:ff:{its.st_ino} 0 EOF\n"
    looks = iter(["", row])  # the first one missed it
    monkeypatch.setattr(Path, "read_text", lambda path: next(looks))
    assert is_locked(file)


def test_the_worker_is_read_from_what_it_left(tmp_path: Path):
    run = RunDir(tmp_path).create()
    assert read_worker(run) == Worker(alive=False)
    attempt = {"host": socket.gethostname(), "job": {"executor": "local", "id": str(os.getpid())}}
    write_json(run.manifest, {"submit": {"attempts": [{}, attempt]}})
    write_json(tmp_path / "outcome.json", {"state": "failed", "step": "one", "what": "x", "hint": "y"})
    worker = read_worker(run)
    assert (worker.job, worker.submissions, worker.elsewhere) == (str(os.getpid()), 2, "")
    assert worker.outcome == {"state": "failed", "step": "one", "what": "x", "hint": "y"}
    assert time.time() - worker.submitted < 60

    (tmp_path / "outcome.json").unlink()
    write_json(run.manifest, {"submit": {"attempts": [{**attempt, "host": "login2"}]}})
    assert read_worker(run).elsewhere == "login2"
