"""Cancelling: the marker first, then one scancel for what lives; local workers leave in order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stair.cluster.ledger import Sent, record_sent
from stair.console import run_command
from stair.report.look import look
from stair.rundir import RunDir, write_json
from stair.submit.cancel import cancel
from tests.cluster.standin import StandIn, squeue_line
from tests.report.runs import mark_done, write_run
from tests.submit.scripted import TRAINER, a_plan, a_step, wait_for_line

STEPS = ({"name": "stage1"}, {"name": "eval", "kind": "eval", "needs": ["stage1"]})


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn(tmp_path / "bin")
    stand_in.say("squeue")
    stand_in.say("scancel")
    monkeypatch.setenv("PATH", stand_in.environment()["PATH"])
    return stand_in


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    made = write_run(tmp_path / "run", *STEPS)
    record_sent(made, Sent("stage1", "stage1", "12"))
    record_sent(made, Sent("eval", "eval", "13", tuple(range(3)), after=("12",)))
    return made


def ended(run: RunDir, pause=lambda seconds: None) -> int:
    return run_command(lambda: cancel(run.path, pause=pause))


def scancels(slurm: StandIn) -> list[list[str]]:
    return [call[1:] for call in slurm.calls() if call[0] == "scancel"]


def test_all_that_lives_is_ended_by_one_command(run: RunDir, slurm: StandIn, capsys: pytest.CaptureFixture):
    slurm.say("squeue", squeue_line("12") + squeue_line("13_[0-2%2]", "PENDING", "Dependency"))
    assert ended(run) == 0
    assert scancels(slurm) == [["12", "13"]]
    assert "cancelled 2 jobs (12, 13) of" in capsys.readouterr().out
    marker = json.loads((run.path / "cancelled").read_text())
    assert "@" in marker["who"]
    assert marker["when"]
    assert abs(marker["time"] - time.time()) < 60


def test_the_marker_is_there_before_anything_is_ended(run: RunDir, slurm: StandIn):
    slurm.say("squeue", squeue_line("12"))
    slurm.say("scancel", first=f'[ -e "{run.path}/cancelled" ] && touch was_there')
    assert ended(run) == 0
    assert (slurm.folder / "was_there").exists()


def test_a_job_that_was_sent_again_meanwhile_is_ended_too(run: RunDir, slurm: StandIn):
    slurm.say("squeue", "".join(squeue_line(job) for job in ("12", "15")))

    def send_again(seconds: float) -> None:
        if not any("15" in words for words in scancels(slurm)):
            record_sent(run, Sent("stage1", "stage1", "15", after=("12",), why="again after node"))

    slurm.say("squeue", squeue_line("12"), first='case "$*" in *--jobs=15*) cat again; exit 0;; esac')
    (slurm.folder / "again").write_text(squeue_line("15", "PENDING", "Dependency"))
    assert ended(run, send_again) == 0
    assert scancels(slurm) == [["12"], ["15"]]


def test_a_run_that_is_over_is_told_so(run: RunDir, slurm: StandIn, capsys: pytest.CaptureFixture):
    slurm.say("squeue", squeue_line("12", "FAILED"))
    assert ended(run) == 0
    assert "is over: nothing of it is alive" in capsys.readouterr().out
    assert not scancels(slurm)
    assert not (run.path / "cancelled").exists()

    mark_done(run.path / "stage1")
    mark_done(run.path / "eval")
    assert ended(run) == 0
    assert "is over: all its steps are done" in capsys.readouterr().out


def test_cancelling_twice_is_cancelling_once(run: RunDir, slurm: StandIn, capsys: pytest.CaptureFixture):
    slurm.say("squeue", squeue_line("12"))
    assert ended(run) == 0
    before = (run.path / "cancelled").read_text()
    slurm.say("squeue", squeue_line("12", "CANCELLED"))
    assert ended(run) == 0
    assert "was cancelled by" in capsys.readouterr().out
    assert (run.path / "cancelled").read_text() == before
    assert len(scancels(slurm)) == 1


def test_a_silent_slurm_leaves_the_marker_and_says_so(
    run: RunDir, slurm: StandIn, capsys: pytest.CaptureFixture
):
    slurm.say("squeue", err="slurm_load_jobs error: Unable to contact slurm controller\n", code=1)
    assert ended(run) == 3
    said = capsys.readouterr().err
    assert "Unable to contact slurm controller" in said
    assert "repeat" in said
    assert (run.path / "cancelled").exists()


def test_what_scancel_refuses_is_said(run: RunDir, slurm: StandIn, capsys: pytest.CaptureFixture):
    slurm.say("squeue", squeue_line("12"))
    slurm.say(
        "scancel", err="scancel: error: Kill job error on job id 12: Access/permission denied\n", code=1
    )
    assert ended(run) == 1
    assert "Access/permission denied" in capsys.readouterr().err


def test_a_job_that_ended_just_before_is_no_failure(run: RunDir, slurm: StandIn):
    slurm.say("squeue", squeue_line("12"))
    said = "scancel: error: Kill job error on job id 12: Job/step already completing or completed\n"
    slurm.say("scancel", err=said, code=1)
    assert ended(run) == 0


def test_no_such_run_is_wrong_use(tmp_path: Path):
    assert run_command(lambda: cancel(tmp_path / "nowhere")) == 2


WORK = "import sys; from stair.submit.worker import run_plan; sys.exit(run_plan(sys.argv[1]))"


def test_a_local_worker_saves_itself_and_leaves(tmp_path: Path, capsys: pytest.CaptureFixture):
    run = RunDir(tmp_path / "run").create()
    plan = a_plan(run.path, a_step(run.path, "one", TRAINER))
    run.plan.write_text(plan.text())
    process = subprocess.Popen([sys.executable, "-c", WORK, str(run.plan)])
    job = {"host": os.uname().nodename, "job": {"executor": "local", "id": str(process.pid)}}
    write_json(run.manifest, {"submit": {"attempts": [job]}})
    wait_for_line(run.logs / "one.log", "step 3 ")
    assert ended(run) == 0
    assert f"process {process.pid} saves what it has and leaves" in capsys.readouterr().out
    assert process.wait(timeout=240) == 75
    assert int((run.path / "one" / "state").read_text()) >= 3
    status = look(run.path)
    assert status.state == "cancelled"
    assert status.steps[0].words.startswith("cancelled by ")

    assert ended(run) == 0
    assert "was cancelled by" in capsys.readouterr().out


def test_a_worker_on_another_machine_is_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture):
    run = write_run(tmp_path, {"name": "one"}, executor="local")
    write_json(run.manifest, {"submit": {"attempts": [{"host": "login2", "job": {"id": "1"}}]}})
    assert ended(run) == 1
    assert "repeat this command on login2" in capsys.readouterr().err
