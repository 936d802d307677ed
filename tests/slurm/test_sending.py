"""One submission makes one job, also when slurmctld is away, and carries no secret anywhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stair.errors import StairError, UsageError
from stair.rundir import RunDir
from stair.submit.plan import Batch
from stair.submit.script import Option, batch_script
from stair.submit.secrets import refuse_secrets
from stair.submit.sending import send_batch
from tests.slurm.live import LiveSlurm
from tools.devslurm.system import read_pid

CANARY = "c4nary-8f41d0e2aa"
TRYING = "slurmctld does not answer; trying again"


@pytest.fixture(autouse=True)
def here(slurm: LiveSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", str(slurm.slurm_conf))


def a_batch(*command: str, options: tuple[Option, ...] = ()) -> Batch:
    return Batch("stage1", "stage1", batch_script([("time", "5"), *options], command or ["true"]), (), False)


def jobs_of(slurm: LiveSlurm) -> list[str]:
    return slurm.run("squeue", "--noheader", "--states=all", "--format=%F").split()


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (["--partition=nope"], "slurm.partition"),
        (["--qos=nope"], "slurm.qos"),
        (["--account=nope"], "slurm.account"),
        (["--constraint=nope"], "slurm.constraint"),
        (["--gres=tpu:1"], "slurm.gres"),
        (["--reservation=nope"], "slurm.reservation"),
        (["--array=0-5000"], "MaxArraySize"),
        (["--cpus-per-task=400"], "fewer --nodes or processes"),
        (["--nope=1"], "slurm.options"),
    ],
)
def test_slurm_s_own_reason_is_said_with_what_to_try(
    slurm: LiveSlurm, tmp_path: Path, words: list[str], cure: str
):
    with pytest.raises(StairError, match="Slurm does not take stage1: ") as caught:
        send_batch(a_batch(), ["--hold", *words], RunDir(tmp_path))
    assert cure in caught.value.hint
    assert str(caught.value).count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*.*")] == ["stage1.sh"]


@pytest.fixture
def when_turned_away(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], list[str]]:
    """Has something done as soon as the sender says that slurmctld does not answer; what it said."""

    def plan(act: Callable[[], object]) -> list[str]:
        said: list[str] = []

        def hear(words: str) -> None:
            said.append(words)
            act()

        monkeypatch.setattr("stair.submit.sending.say", hear)
        return said

    return plan


def test_a_slurmctld_that_is_down_is_waited_for(slurm: LiveSlurm, tmp_path: Path, when_turned_away):
    before = set(jobs_of(slurm))
    slurm.stop("slurmctld")
    said = when_turned_away(lambda: slurm.restart("slurmctld"))
    job = send_batch(a_batch(), ["--hold"], RunDir(tmp_path), settle_s=0.5)
    assert said == [TRYING]
    assert set(jobs_of(slurm)) - before == {job}


def test_a_slurmctld_that_stays_away_is_an_expected_failure(slurm: LiveSlurm, tmp_path: Path):
    slurm.stop("slurmctld")
    with pytest.raises(StairError, match="has not answered"):
        send_batch(a_batch(), ["--hold"], RunDir(tmp_path), patience_s=2.0)
    slurm.restart("slurmctld")
    assert [path.name for path in tmp_path.rglob("*.*")] == ["stage1.sh"]


@pytest.mark.slow
def test_a_request_that_was_given_up_and_heard_later_makes_no_second_job(
    slurm: LiveSlurm, tmp_path: Path, when_turned_away
):
    before = set(jobs_of(slurm))
    pid = read_pid(slurm.cluster.pids / "slurmctld.pid", "slurmctld")
    assert pid
    said = when_turned_away(lambda: os.kill(pid, signal.SIGCONT))
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    try:
        job = send_batch(a_batch(), ["--hold"], RunDir(tmp_path))
    finally:
        os.kill(pid, signal.SIGCONT)
    assert said == [TRYING]
    assert time.monotonic() - started > 10  # MessageTimeout, after which sbatch gives up
    time.sleep(3)
    assert set(jobs_of(slurm)) - before == {job}


SPY = """\
import json, os, sys
found = {}
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        parts = {part: open(f"/proc/{pid}/{part}", "rb").read() for part in ("cmdline", "environ")}
    except OSError:
        continue
    read = {part: content.decode(errors="replace") for part, content in parts.items()}
    if f"SLURM_JOB_ID={os.environ['SLURM_JOB_ID']}" in read["environ"]:
        found[pid] = read
json.dump(found, open(sys.argv[1], "w"))
"""


def where_it_stands(slurm: LiveSlurm, run: Path, job: str, canary: str) -> set[str]:
    """Every place where a canary can be read while the job is there and after it."""
    spied = json.loads((run.parent / "spied.json").read_text())
    assert len(spied) >= 2, "the spy sees the srun and itself"
    texts = {
        "proc": json.dumps(spied),
        "scontrol": slurm.run("scontrol", "show", "job", "-d", job),
        "squeue": slurm.run("squeue", "--states=all", "--json"),
        "sacct": slurm.run("sacct", "--jobs", job, "--parsable2", "--format=ALL"),
        "script": slurm.run("scontrol", "write", "batch_script", job, "-"),
    }
    found = {name for name, text in texts.items() if canary in text}
    folders = {
        "run": run,
        "state": slurm.root / "state",
        "spool": slurm.root / "spool",
        "log": slurm.root / "log",
    }
    for name, folder in folders.items():
        assert any(folder.rglob("*")), folder
        done = subprocess.run(["grep", "-rlaF", "--", canary, str(folder)], capture_output=True, timeout=60)
        found |= {name} if done.stdout else set()
    return found


@pytest.mark.parametrize("leak", [False, True])
def test_a_canary_in_the_environment_is_nowhere_unless_it_is_named_and_looks_harmless(
    slurm: LiveSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leak: bool
):
    for name in ("WANDB_API_KEY", "HF_TOKEN", "SOMETHING", "SLURM_THING", "SBATCH_COMMENT"):
        monkeypatch.setenv(name, CANARY)
    run = tmp_path / "run"
    spy = tmp_path / "spy.py"
    spy.write_text(SPY)
    command = ["srun", "--ntasks=1", "--export=ALL", sys.executable, str(spy), str(tmp_path / "spied.json")]
    options: tuple[Option, ...] = (("output", str(run / "logs" / "%j.log")), ("chdir", str(tmp_path)))
    (run / "logs").mkdir(parents=True)
    keep = (
        "WANDB_API_KEY",
        "HF_TOKEN",
        *(["SOMETHING"] if leak else []),
    )  # with it the test must find something
    job = send_batch(a_batch(*command, options=options), [], RunDir(run), keep=keep)
    slurm.wait_for_state(job, "COMPLETED")
    assert where_it_stands(slurm, run, job, CANARY) == ({"proc", "state"} if leak else set())


def test_a_canary_in_what_is_written_down_is_refused_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_API_KEY", CANARY)
    for place in ("settings", "environment", "argv", "script"):
        with pytest.raises(UsageError) as caught:
            refuse_secrets({"steps": [{place: {"x": f"--note={CANARY}"}}]}, os.environ)
        assert CANARY not in str(caught.value)
