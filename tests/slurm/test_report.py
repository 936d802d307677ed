"""stair-report and --cancel in front of a real Slurm, with accounting and without it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stair.cluster.jobs import ask_jobs, missing_members
from stair.cluster.ledger import Attempt, Sent, record_attempt, record_sent
from stair.console import run_command
from stair.report.cli import main
from stair.report.look import look
from stair.rundir import RunDir
from stair.submit.cancel import cancel
from tests.report.runs import write_run
from tests.slurm.live import LiveSlurm
from tools.devslurm.system import wait_until

LIMITS = ("--time=5", "--mem=100", "--output=/dev/null")
STEPS = ({"name": "stage1"}, {"name": "eval", "kind": "command", "needs": ["stage1"], "members": 6})


@pytest.fixture(params=["accounting", "no accounting"])
def cluster(
    request: pytest.FixtureRequest,
    slurm: LiveSlurm,
    slurm_without_accounting: LiveSlurm,
    monkeypatch: pytest.MonkeyPatch,
) -> LiveSlurm:
    """One kind of cluster, then the other."""
    found = slurm if request.param == "accounting" else slurm_without_accounting
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return write_run(tmp_path / "run", *STEPS)


def send(cluster: LiveSlurm, run: RunDir, step: str, script: str, *words: str, **more) -> str:
    job = cluster.submit(script, *LIMITS, *words)
    record_sent(run, Sent(step, step, job, **more))
    return job


def eventually(check: Callable[[], object], seconds: float = 120.0) -> None:
    """Waits until something holds; sacct and slurmctld take their time."""
    assert wait_until(check, seconds, 0.3)


def states(run: RunDir) -> list[str]:
    return [step.state for step in look(run.path).steps]


def test_a_run_is_followed_from_the_queue_to_its_end(cluster: LiveSlurm, run: RunDir):
    go = run.path / "go"
    job = send(cluster, run, "stage1", f"until [ -e {go} ]; do sleep 0.2; done; exit 3")
    after = ("--array=0-5%2", f"--dependency=afterok:{job}")
    send(cluster, run, "eval", "true", *after, members=tuple(range(6)), after=(job,))
    cluster.wait_for_state(job, "RUNNING")
    eventually(lambda: states(run)[1] == "waiting")  # Slurm says why a job waits when it has looked at it
    status = look(run.path)
    assert status.steps[0].words.startswith("starting on n")
    assert (status.steps[1].state, status.steps[1].words) == (
        "waiting",
        "waiting for stage1 (6 waiting of 6)",
    )
    assert status.exit_code == 0

    go.touch()
    eventually(lambda: states(run) == ["failed", "blocked"])
    status = look(run.path)
    assert f"job {job} ended before its supervisor began (exit 3)" in status.steps[0].words
    assert (status.over, status.exit_code) == (True, 1)


def test_only_members_without_a_marker_and_a_job_are_missing(cluster: LiveSlurm, run: RunDir):
    done = run.path / "eval" / "members"
    done.mkdir(parents=True)
    mark = f"touch {done}/0000$SLURM_ARRAY_TASK_ID.json"
    script = f"case $SLURM_ARRAY_TASK_ID in 1) exit 1;; 4|5) sleep 280;; *) {mark};; esac"
    job = send(cluster, run, "eval", script, "--array=0-5", members=tuple(range(6)))
    eventually(lambda: look(run.path).steps[1].members == {"running": 2, "failed": 1, "done": 3})
    found = ask_jobs([job], cluster.environment)
    sent = [Sent("eval", "eval", job, tuple(range(6)))]
    assert missing_members(6, sent, "eval", found, {0, 2, 3}) == (1,)


def test_a_requeued_job_says_why_it_waits(cluster: LiveSlurm, run: RunDir):
    job = send(cluster, run, "stage1", "sleep 60", "--requeue")
    cluster.wait_for_state(job, "RUNNING")
    record_attempt(run, Attempt("stage1", None, job, 0, ("n1",), time.time()))
    cluster.run("scontrol", "requeue", job)
    cluster.wait_for_state(job, "PENDING")
    eventually(lambda: "after a requeue Slurm waits two minutes" in look(run.path).steps[0].words)
    state = ask_jobs([job], cluster.environment)[job]
    assert (state.state, state.reason, state.restarts) == ("PENDING", "BeginTime", 1)
    if cluster.cluster.shape.accounting:
        eventually(
            lambda: [r.state for r in ask_jobs([job], cluster.environment)[job].history] == ["REQUEUED"]
        )


def test_cancelling_ends_what_runs_and_what_waits_for_it(cluster: LiveSlurm, run: RunDir):
    job = send(cluster, run, "stage1", "sleep 60")
    words = ("--array=0-5%2", f"--dependency=afterok:{job}")
    send(cluster, run, "eval", "true", *words, members=tuple(range(6)), after=(job,))
    cluster.wait_for_state(job, "RUNNING")
    assert run_command(lambda: cancel(run.path)) == 0
    eventually(lambda: states(run) == ["cancelled", "cancelled"])
    eventually(lambda: not cluster.jobs())
    assert run_command(lambda: cancel(run.path)) == 0


def test_a_silent_slurmctld_leaves_the_folders_truth(
    cluster: LiveSlurm, run: RunDir, capsys: pytest.CaptureFixture[str]
):
    job = send(cluster, run, "stage1", "sleep 60")
    began = time.time() - 2 * 24 * 3600 - 60  # two days in words, however long Slurm is waited for
    record_attempt(run, Attempt("stage1", None, job, 0, ("n1", "n2"), began))
    cluster.stop("slurmctld")
    try:
        assert run_command(lambda: main([str(run.path)])) == 3
    finally:
        cluster.restart("slurmctld")
    said = capsys.readouterr().out
    assert "Unable to contact slurm controller" in said
    assert "stage1  began on n1,n2 2 d ago; Slurm does not answer" in said
