"""A plan becomes jobs of a cluster, all of them or none. The Slurm is a stand-in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stair.cluster.ledger import Sent, read_sent, record_sent
from stair.rundir import RunDir
from stair.submit.plan import Batch, Plan
from stair.submit.send_slurm import send_to_slurm
from stair.submit.sending import PlannedExecutor
from tests.cluster.standin import StandIn, squeue_line
from tests.submit.scripted import a_plan, a_step

TAKE = """
for word; do case $word in --comment=*) stamp=${word#--comment=};; esac; done
number=$((41 + $(cat taken 2>/dev/null | wc -l)))
echo "$number $stamp" >> taken
echo "Submitted batch job $number"
exit 0
"""
QUEUE = 'case "$*" in *%k*) cat taken; exit 0;; esac'
"""What is asked by its stamp; else the states of jobs."""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """An sbatch that takes everything, as job 41, 42, …"""
    stand_in = StandIn(tmp_path / "bin")
    stand_in.say("sbatch", first=TAKE)
    stand_in.say("squeue", first=QUEUE)
    for name in ("scancel", "srun"):
        stand_in.say(name)
    monkeypatch.setenv("PATH", stand_in.environment()["PATH"])
    return stand_in


def a_chain(run: Path) -> Plan:
    """one → two, as batches."""
    steps = [a_step(run, name, "pass") for name in ("one", "two")]
    batches = [
        Batch(name, name, "#!/bin/bash\n", after, False) for name, after in (("one", ()), ("two", ("one",)))
    ]
    return replace(a_plan(run, *steps), executor="slurm", batches=tuple(batches))


def test_a_chain_is_sent_whole_and_every_job_is_in_the_ledger(tmp_path: Path, slurm: StandIn):
    plan = a_chain(tmp_path / "run")
    assert [line.job for line in send_to_slurm(plan)] == ["41", "42"]
    assert [(line.step, line.after) for line in read_sent(RunDir(Path(plan.run)))] == [
        ("one", ()),
        ("two", ("41",)),
    ]
    assert not [call for call in slurm.calls() if call[0] == "scancel"]


@pytest.mark.parametrize("at", [1, 2])
def test_of_a_chain_that_was_interrupted_while_sbatch_was_at_work_nothing_is_left(
    tmp_path: Path, slurm: StandIn, monkeypatch: pytest.MonkeyPatch, at: int
):
    """Slurm has the job, and nobody has read its id yet."""
    read, seen = PlannedExecutor._get_job_id_from_submission_command, []

    def interrupted(said: str) -> str:
        seen.append(said)
        if len(seen) == at:
            raise KeyboardInterrupt
        return read(said)

    monkeypatch.setattr(PlannedExecutor, "_get_job_id_from_submission_command", staticmethod(interrupted))
    with pytest.raises(KeyboardInterrupt):
        send_to_slurm(a_chain(tmp_path / "run"))
    assert [call for call in slurm.calls() if call[0] == "scancel"] == [
        ["scancel", *(["41"] if at == 1 else ["41", "42"])]
    ]


def test_an_interrupt_while_slurm_is_silent_names_what_to_look_for(
    tmp_path: Path, slurm: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def interrupted(said: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(PlannedExecutor, "_get_job_id_from_submission_command", staticmethod(interrupted))
    slurm.say("squeue", err="slurm_load_jobs error: Unable to contact slurm controller\n", code=1)
    with pytest.raises(KeyboardInterrupt):
        send_to_slurm(a_chain(tmp_path / "run"))
    stamp = (slurm.folder / "taken").read_text().removeprefix("41 ").strip()
    assert f"look for '{stamp}' in squeue" in capsys.readouterr().err


def test_what_a_supervisor_sends_again_while_slurm_is_asked_is_not_sent_twice(tmp_path: Path, slurm: StandIn):
    """The ledger is read, the supervisor sends its job again and ends, and only then squeue answers."""
    plan = a_chain(tmp_path / "run")
    run = RunDir(Path(plan.run)).create()
    run.plan.write_text(plan.text())
    record_sent(run, Sent("one", "one", "7"))
    record_sent(run, Sent("two", "two", "10", after=("7",)))
    again = Sent("one", "one", "8", after=("7",), why="again after node")
    record_sent(RunDir(tmp_path / "later").create(), again)
    once = f'[ -e answered ] || cat "{tmp_path}/later/jobs.jsonl" >> "{run.path}/jobs.jsonl"; touch answered'
    asked_again = 'case "$*" in *--jobs=7,8,10*) cat all; exit 0;; esac'
    (slurm.folder / "all").write_text(
        squeue_line("7", "FAILED") + squeue_line("8") + squeue_line("10", "PENDING", "Dependency")
    )
    slurm.say(
        "squeue", squeue_line("7", "FAILED") + squeue_line("10", "PENDING"), first=f"{once}\n{asked_again}"
    )
    assert send_to_slurm(plan) == []
    assert not [call for call in slurm.calls() if call[0] == "sbatch"]


def test_whoever_submits_again_wants_what_is_alive_to_begin(tmp_path: Path, slurm: StandIn):
    """It was cancelled while Slurm was silent: the marker stands, and the jobs still wait."""
    plan = a_chain(tmp_path / "run")
    run = RunDir(Path(plan.run)).create()
    run.plan.write_text(plan.text())
    record_sent(run, Sent("one", "one", "7"))
    record_sent(run, Sent("two", "two", "10", after=("7",)))
    (run.path / "cancelled").touch()
    slurm.say("squeue", squeue_line("7", "PENDING", "Priority") + squeue_line("10", "PENDING", "Dependency"))
    assert send_to_slurm(plan) == []
    assert not (run.path / "cancelled").exists()
