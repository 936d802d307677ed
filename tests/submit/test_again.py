"""The next attempt of a step: who is moved to wait for it, and what sbatch and scontrol are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from stair.cluster.ledger import Sent, read_sent, record_sent
from stair.rundir import RunDir
from stair.submit.again import again, waiting_for
from stair.submit.plan import Batch, Plan
from stair.submit.seat import Seat
from stair.submit.verdict import Decision, Ending
from tests.submit.scripted import a_plan, a_step
from tests.submit.standin_slurm import StandIn

ALONE = Seat("7", "7", None, 0, ("n1", "n2"))
MEMBER = Seat("7_3", "9", 3, 0, ("n1",))
UNFIT = Decision(Ending("retryable", "node", node="n2"), "resubmit", ("n2", "n5"))


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn(tmp_path / "bin")
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    return made


def a_chain(tmp_path: Path, members: int = 1) -> Plan:
    """one → two → report, all of them sent as 7, 10 and 11."""
    run = tmp_path / "run"
    steps = [replace(a_step(run, name, "pass"), members=1) for name in ("one", "two", "report")]
    steps[0] = replace(steps[0], members=members)
    script = "#!/bin/bash\n"
    batches = (
        Batch("one", "one", script, (), False, count=members if members > 1 else 0),
        Batch("two", "two", script, ("one",), False),
        Batch("report", "report", script, ("one", "two"), True),
    )
    plan = replace(a_plan(run, *steps), batches=batches)
    folder = RunDir(run).create()
    record_sent(folder, Sent("one", "one", "7", tuple(range(members)) if members > 1 else ()))
    record_sent(folder, Sent("two", "two", "10", after=("7",)))
    record_sent(folder, Sent("report", "report", "11", after=("7", "10")))
    return plan


def test_who_waits_for_a_job_that_is_sent_again_waits_for_the_new_one(tmp_path: Path, slurm: StandIn):
    plan = a_chain(tmp_path)
    run = RunDir(Path(plan.run))
    assert again(plan, plan.steps[0], run, ALONE, UNFIT) == (75, "sent again as 8")
    sbatch, *moves = slurm.calls
    assert sbatch.startswith("sbatch --dependency=afterany:7 --exclude=n2,n5 --comment=stair")
    assert moves == [
        "scontrol update JobId=10 Dependency=afterok:8",
        "scontrol update JobId=11 Dependency=afterany:10:8",
    ]
    newest = {line.job: line for line in read_sent(run)}
    assert newest["8"].after == ("7",)
    assert newest["10"].after == ("8",)
    assert newest["11"].after == ("10", "8")


def test_nodes_that_the_cluster_profile_excludes_stay_excluded(tmp_path: Path, slurm: StandIn):
    plan = a_chain(tmp_path)
    script = "#!/bin/bash\n#SBATCH --exclude=n9,n10\nexec true\n"
    plan = replace(plan, batches=tuple(replace(batch, script=script) for batch in plan.batches))
    again(plan, plan.steps[0], RunDir(Path(plan.run)), ALONE, UNFIT)
    assert " --exclude=n9,n10,n2,n5 " in slurm.calls[0]


def test_who_waits_for_an_array_waits_for_the_member_that_is_sent_again_too(tmp_path: Path, slurm: StandIn):
    plan = a_chain(tmp_path, members=5)
    run = RunDir(Path(plan.run))
    step = plan.steps[0].of_member(3)
    # The member itself must end well, or the array would have failed for those who wait.
    assert again(plan, step, run, MEMBER, UNFIT) == (0, "sent again as 8")
    assert slurm.calls[0].startswith("sbatch --dependency=afterany:7_3 --array=3 --exclude=n2,n5")
    assert "scontrol update JobId=10 Dependency=afterok:7:8" in slurm.calls


def test_a_job_is_moved_once_for_every_job_it_waits_for():
    sent = [
        Sent("two", "two", "10", after=("7",)),
        Sent("two", "two", "10", after=("8",), why="moved to wait for 8"),
        Sent("three", "three", "11", after=("7", "10")),
        Sent("one", "one", "8", after=("7",)),
    ]
    assert [line.job for line in waiting_for(sent, ALONE, "one")] == ["11"]


def test_a_requeue_whose_answer_was_lost_is_not_asked_for_again(tmp_path: Path, slurm: StandIn):
    plan = a_chain(tmp_path)
    slurm.refuse_requeues()
    slurm.say("JobId=7 JobState=COMPLETING Reason=None Restarts=1 PreemptTime=None")
    wish = Decision(Ending("checkpointed", "timeout"), "requeue")
    assert again(plan, plan.steps[0], RunDir(Path(plan.run)), ALONE, wish) == (75, "requeued")
    assert slurm.calls == ["scontrol requeue 7"]


def test_who_was_replaced_sends_nothing(tmp_path: Path, slurm: StandIn):
    plan = a_chain(tmp_path)
    wish = Decision(Ending("checkpointed", "timeout"), "requeue")
    slurm.answers(False)
    code, what = again(plan, plan.steps[0], RunDir(Path(plan.run)), ALONE, wish, lambda: True)
    assert (code, what) == (1, "another attempt has taken its place")
    assert not any(call.startswith("sbatch") for call in slurm.calls)


@pytest.mark.parametrize(("again_as", "job"), [("requeue", "7"), ("resubmit", "8")])
def test_what_was_arranged_while_a_person_cancelled_the_run_is_cancelled_too(
    tmp_path: Path, slurm: StandIn, again_as: Literal["requeue", "resubmit"], job: str
):
    """The marker comes after the decision; who wrote it looked into the ledger before the line was there."""
    plan = a_chain(tmp_path)
    for name in ("scontrol", "sbatch"):
        script = slurm.folder / name
        text = script.read_text().replace("#!/bin/bash\n", f"#!/bin/bash\ntouch '{plan.run}/cancelled'\n")
        script.write_text(text)
    scancel = slurm.folder / "scancel"
    scancel.write_text('#!/bin/bash\necho "scancel $*" >> "$(dirname "$0")/calls"\n')
    scancel.chmod(0o755)
    wish = Decision(Ending("checkpointed", "timeout"), again_as)
    code, what = again(plan, plan.steps[0], RunDir(Path(plan.run)), ALONE, wish)
    assert (code, what.endswith("and the run was cancelled")) == (1, True)
    assert slurm.calls[-1] == f"scancel {job}"
