"""One attempt of a step: what its supervisor records, and what it has Slurm do. The Slurm is a stand-in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from stair.cluster.ledger import Attempt, read_attempts, record_attempt
from stair.rundir import RunDir, write_json
from stair.submit.claim import claim_file
from stair.submit.plan import Batch, Budgets, Plan, Step
from tests.processes import wait_for
from tests.submit.scripted import TRAINER, WAIT_S, a_plan, a_step, processes_of, wait_for_line
from tests.submit.standin_slurm import LEAVING, RUNNING, StandIn, ended

BUDGETS = Budgets(timeout=2, preemption=2, node=2, crash=1)
FOREVER = TRAINER.replace("range(first, 60)", "range(first, 10**6)")


@pytest.fixture
def slurm(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path / "bin")


def planned(tmp_path: Path, code: str) -> tuple[Plan, Step]:
    run = tmp_path / "run"
    step = a_step(run, "one", code)
    batch = Batch("one", "one", "#!/bin/bash\n", (), False)
    return replace(a_plan(run, step), budgets=BUDGETS, batches=(batch,), warn_s=60), step


def attempts(plan: Plan) -> list[Attempt]:
    return read_attempts(RunDir(Path(plan.run)), "one")


def log(plan: Plan) -> Path:
    return Path(plan.run) / "logs/one.log"


def end_program(step: Step) -> None:
    """As slurmstepd does, which ends every process of a job."""
    for process in processes_of(step.folder):
        os.kill(process, signal.SIGKILL)


def test_a_step_that_ends_well_leaves_a_marker_and_asks_nothing_of_slurm(tmp_path: Path, slurm: StandIn):
    plan, step = planned(tmp_path, "print('hello')")
    assert ended(slurm.supervise(plan, step))[0] == 0
    [attempt] = attempts(plan)
    assert (attempt.job, attempt.nodes, attempt.verdict) == ("7", ("n1",), "done")
    assert step.done_file.exists()
    assert slurm.calls == []
    assert "skipped" in ended(slurm.supervise(plan, step))[1]
    assert len(attempts(plan)) == 1


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (RUNNING.replace("9999999999", "{soon}"), "timeout"),
        (RUNNING.replace("PreemptTime=None", "PreemptTime=1700000000"), "preemption"),
        (LEAVING.replace("Reason=None", "Reason=TimeLimit"), "timeout"),
    ],
)
@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_warned_step_saves_itself_and_its_job_is_requeued(
    tmp_path: Path, slurm: StandIn, line: str, cause: str, number: signal.Signals
):
    plan, step = planned(tmp_path, FOREVER)
    process = slurm.supervise(plan, step)
    wait_for_line(log(plan), "step 3 ")
    slurm.say(line.format(soon=int(time.time() + 100)))
    process.send_signal(number)
    assert ended(process)[0] == 75
    [attempt] = attempts(plan)
    assert (attempt.verdict, attempt.cause, attempt.next) == ("checkpointed", cause, "requeued")
    assert slurm.calls == ["scontrol requeue 7"]
    assert int((Path(step.folder) / "state").read_text()) >= 3


def test_a_cancelled_step_saves_itself_and_stays_cancelled(tmp_path: Path, slurm: StandIn):
    plan, step = planned(tmp_path, FOREVER)
    process = slurm.supervise(plan, step)
    wait_for_line(log(plan), "step 3 ")
    slurm.say(LEAVING)
    process.terminate()
    assert ended(process)[0] == 1
    assert [attempt.verdict for attempt in attempts(plan)] == ["cancelled"]
    assert slurm.calls == []


def test_what_slurm_has_requeued_itself_is_not_requeued_again(tmp_path: Path, slurm: StandIn):
    plan, step = planned(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    slurm.say(LEAVING.replace("Restarts=0", "Restarts=1"))
    assert ended(slurm.supervise(plan, step))[0] == 75
    [attempt] = attempts(plan)
    assert (attempt.cause, attempt.next) == ("preemption", "requeued by Slurm")
    assert slurm.calls == []


def test_a_warning_is_on_record_before_the_step_has_saved_itself(tmp_path: Path, slurm: StandIn):
    deaf = FOREVER.replace("if wanted:", "if False:")
    plan, step = planned(tmp_path, "import signal; signal.alarm(600)" + deaf)
    process = slurm.supervise(plan, step)
    wait_for_line(log(plan), "step 3 ")
    slurm.say(LEAVING.replace("Restarts=0", "Restarts=1"))
    process.terminate()
    wait_for_line(Path(plan.run) / "attempts/one.jsonl", "preemption")
    process.kill()  # as Slurm does after KillWait
    process.wait()
    end_program(step)
    [attempt] = attempts(plan)
    assert (attempt.verdict, attempt.cause) == ("retryable", "preemption")
    assert "before it had saved itself" in attempt.why


def test_a_killed_process_is_begun_again_as_often_as_its_budget_allows(tmp_path: Path, slurm: StandIn):
    plan, step = planned(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert ended(slurm.supervise(plan, step))[0] == 75
    slurm.say(RUNNING.replace("Restarts=0", "Restarts=1"))
    code, said = ended(slurm.supervise(plan, step, SLURM_RESTART_COUNT="1"))
    assert code == 1
    assert "2 killed processes, 1 allowed" in said
    assert next((a.cause, a.next) for a in attempts(plan)) == ("crash", "requeued")
    assert slurm.calls == ["scontrol requeue 7"]


def test_where_slurm_does_not_requeue_the_batch_is_sent_again(tmp_path: Path, slurm: StandIn):
    plan, step = planned(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    slurm.refuse_requeues()
    assert ended(slurm.supervise(plan, step))[0] == 75
    assert attempts(plan)[0].next == "sent again as 8"
    assert slurm.calls[1].startswith("sbatch --dependency=afterany:7 --comment=")


def test_a_supervisor_waits_for_a_slurmctld_that_is_away(tmp_path: Path, slurm: StandIn):
    plan, step = planned(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    slurm.answers(False)
    process = slurm.supervise(plan, step)
    assert process.stderr is not None
    while "does not answer" not in process.stderr.readline():
        assert process.poll() is None
    slurm.answers(True)
    assert ended(process)[0] == 75
    assert slurm.calls == ["scontrol requeue 7"]


def test_who_was_replaced_ends_its_step_and_touches_nothing_more(tmp_path: Path, slurm: StandIn):
    plan, step = planned(tmp_path, FOREVER + "\n# replaced")
    process = slurm.supervise(plan, step)
    wait_for_line(log(plan), "step 3 ")
    write_json(claim_file(RunDir(Path(plan.run)), step), {"attempt": "7.1"})
    code, said = ended(process)
    assert code == 1
    assert "another attempt has taken its place" in said
    assert [attempt.ended for attempt in attempts(plan)] == [None]
    assert slurm.calls == []
    # Its program is told by the kernel that nobody waits for it any more.
    wait_for(lambda: not processes_of(step.folder), WAIT_S)


def test_an_attempt_without_an_end_is_closed_by_the_next_one(tmp_path: Path, slurm: StandIn):
    plan, step = planned(tmp_path, "print('hello')")
    record_attempt(RunDir(Path(plan.run)), Attempt("one", None, "7", 0, ("n1",), started=1.0))
    assert ended(slurm.supervise(plan, step, SLURM_RESTART_COUNT="1"))[0] == 0
    assert [(a.restart, a.verdict, a.cause) for a in attempts(plan)] == [
        (0, "retryable", "node"),
        (1, "done", ""),
    ]


def test_another_image_than_was_submitted_is_refused(tmp_path: Path, slurm: StandIn):
    plan, step = planned(tmp_path, "print('hello')")
    image = tmp_path / "x.sif"
    image.write_bytes(b"image")
    step = replace(step, argv=(*step.argv, str(image)))
    plan = replace(plan, steps=(step,), images={str(image): "0" * 64})
    assert ended(slurm.supervise(plan, step))[0] == 1
    [attempt] = attempts(plan)
    assert attempt.verdict == "fatal"
    assert f"image {image} is not the one that was submitted" in attempt.why
    assert not log(plan).exists()


def test_a_full_disk_does_not_keep_a_job_from_being_requeued(tmp_path: Path, slurm: StandIn):
    """The attempts cannot be written any more: a folder stands where their file was."""
    plan, step = planned(tmp_path, FOREVER)
    process = slurm.supervise(plan, step)
    wait_for_line(log(plan), "step 3 ")
    file = Path(plan.run) / "attempts/one.jsonl"
    file.rename(file.with_suffix(".gone"))
    file.mkdir()
    slurm.say(RUNNING.replace("PreemptTime=None", "PreemptTime=1700000000"))
    os.kill(process.pid, signal.SIGTERM)
    code, said = ended(process)
    assert code == 75
    assert "not recorded" in said
    assert slurm.calls == ["scontrol requeue 7"]


def test_a_job_that_slurm_is_ending_is_requeued_before_it_has_saved_itself(tmp_path: Path, slurm: StandIn):
    """Preempted without a grace time: only KillWait is left, and the save may take longer."""
    deaf = FOREVER.replace("if wanted:", "if False:")
    plan, step = planned(tmp_path, "import signal; signal.alarm(600)" + deaf)
    process = slurm.supervise(plan, step)
    wait_for_line(log(plan), "step 3 ")
    slurm.say(LEAVING.replace("PreemptTime=None", "PreemptTime=1700000000"))
    process.terminate()
    wait_for_line(Path(plan.run) / "attempts/one.jsonl", '"requeued"')
    process.kill()
    process.wait()
    end_program(step)
    [attempt] = attempts(plan)
    assert (attempt.verdict, attempt.cause, attempt.next) == ("retryable", "preemption", "requeued")
    assert slurm.calls == ["scontrol requeue 7"]


def test_a_job_that_is_being_ended_is_not_requeued_beyond_its_budget(tmp_path: Path, slurm: StandIn):
    plan, step = planned(tmp_path, FOREVER)
    for number in range(BUDGETS.timeout):
        used = Attempt("one", None, "7", number, ("n1",), 1.0, 2.0, "checkpointed", "timeout")
        record_attempt(RunDir(Path(plan.run)), used)
    process = slurm.supervise(plan, step, SLURM_RESTART_COUNT="2")
    wait_for_line(log(plan), "step 3 ")
    slurm.say(LEAVING.replace("Reason=None", "Reason=TimeLimit").replace("Restarts=0", "Restarts=2"))
    process.terminate()
    assert ended(process)[0] == 1
    assert attempts(plan)[-1].next == "3 time limits, 2 allowed (slurm.max_timeouts)"
    assert slurm.calls == []


def test_of_a_cancelled_run_nothing_begins(tmp_path: Path, slurm: StandIn):
    """A job that was sent, requeued or released at the very moment at which a person cancelled the run."""
    plan, step = planned(tmp_path, "print('hello')")
    run = RunDir(Path(plan.run)).create()
    (run.path / "cancelled").touch()
    code, said = ended(slurm.supervise(plan, step))
    assert (code, "its run was cancelled" in said) == (1, True)
    assert attempts(plan) == []
    assert not log(plan).exists()
    (run.path / "cancelled").unlink()
    assert ended(slurm.supervise(plan, step))[0] == 0


LATE = """
import os, runpy, signal, sys
class Late:
    def __del__(self, kill=os.kill, me=os.getpid(), numbers=(signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)):
        for number in numbers:
            kill(me, number)
sys.late = Late()
sys.argv = ["supervise", *sys.argv[1:]]
runpy.run_module("stair.submit.supervise", run_name="__main__")
"""


def test_a_signal_while_python_ends_does_not_make_a_failure_of_a_step_that_is_done(
    tmp_path: Path, slurm: StandIn
):
    """What lies in `sys` dies after Python has taken its handlers down."""
    plan, step = planned(tmp_path, "print('hello')")
    run = RunDir(Path(plan.run)).create()
    run.plan.write_text(replace(plan, executor="slurm").text())
    words = [sys.executable, "-c", LATE, str(run.plan), step.name]
    done = subprocess.run(words, env=slurm.environment(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert step.done_file.exists()
