"""A run that ends while it is looked at: it has ended well or is still at work, whatever was read first."""

from __future__ import annotations

import fcntl
import json
import shlex
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import pytest

from stair.cluster.ledger import Sent, record_attempt, record_sent
from stair.report import local
from stair.report import look as looking
from stair.report.look import look
from stair.rundir import RunDir, write_json
from tests.cluster.standin import StandIn, squeue_line
from tests.report.runs import an_attempt, ended, mark_done, write_run


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn(tmp_path / "bin")
    stand_in.say("sacct", err="Slurm accounting storage is disabled\n", code=1)
    monkeypatch.setenv("PATH", stand_in.environment()["PATH"])
    return stand_in


@pytest.fixture
def sent(tmp_path: Path) -> RunDir:
    """A step at work as job 12."""
    run = write_run(tmp_path / "run", {"name": "stage1"})
    record_sent(run, Sent("stage1", "stage1", "12"))
    record_attempt(run, an_attempt())
    return run


def once(run: RunDir, *commands: str) -> str:
    """Shell code that does something the first time only."""
    mark = shlex.quote(str(run.path / "once"))
    return f"if mkdir {mark} 2>/dev/null; then {'; '.join(commands)}; fi"


def appended(file: Path, value: object) -> str:
    return f"echo {shlex.quote(json.dumps(value))} >> {shlex.quote(str(file))}"


def test_a_job_that_finishes_while_slurm_is_asked_is_done(sent: RunDir, slurm: StandIn):
    marker = sent.path / "stage1" / "done.json"
    slurm.say("squeue", first=f"mkdir -p {marker.parent}; echo '{{\"seconds\": 3}}' > {marker}")
    status = look(sent.path)
    assert (status.steps[0].state, status.exit_code) == ("done", 0)
    assert len(slurm.calls()) == 2


def test_a_job_that_fails_while_slurm_is_asked_has_said_why(sent: RunDir, slurm: StandIn):
    end = asdict(ended("fatal", why="no data in x"))
    slurm.say("squeue", first=once(sent, appended(sent.path / "attempts" / "stage1.jsonl", end)))
    assert look(sent.path).steps[0].words == "failed: no data in x"


def test_a_job_that_is_sent_again_while_slurm_is_asked_waits_its_turn(sent: RunDir, slurm: StandIn):
    end = asdict(ended("retryable", cause="node", why="n2 was lost", next="sent again as 15"))
    again = asdict(Sent("stage1", "stage1", "15", after=("12",), why="again after node"))
    slurm.say(
        "squeue",
        squeue_line("12", "FAILED"),
        first=once(
            sent,
            appended(sent.path / "attempts" / "stage1.jsonl", end),
            appended(sent.path / "jobs.jsonl", again),
            f"echo {shlex.quote(squeue_line('15', 'PENDING', 'Resources').strip())} >> squeue.out",
        ),
    )
    status = look(sent.path)
    assert status.steps[0].state == "pending", status.steps[0].words
    assert status.steps[0].words.startswith("goes on after a lost node; pending")


@pytest.mark.parametrize(
    ("room", "name"),
    [
        (looking, "read_facts"),
        (looking, "read_worker"),
        (looking, "read_evidence"),
        (local, "is_locked"),
        (local, "_tree"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_run_on_this_machine_that_ends_meanwhile_has_not_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: ModuleType, name: str
):
    run = write_run(tmp_path, {"name": "stage1"}, executor="local")
    run.logs.mkdir()
    lock = (run.logs / "worker.lock").open("a")
    fcntl.flock(lock, fcntl.LOCK_EX)
    real: Callable = getattr(room, name)

    def ends_after_it(*words: object) -> object:
        found = real(*words)
        mark_done(run.path / "stage1")
        write_json(run.path / "outcome.json", {"state": "done"})
        lock.close()
        return found

    monkeypatch.setattr(room, name, ends_after_it)
    first = look(run.path).steps[0]
    monkeypatch.undo()
    assert first.state in ("running", "done"), first.words
    assert look(run.path).steps[0].state == "done"
