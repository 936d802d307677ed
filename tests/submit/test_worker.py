"""The worker runs, skips, stops and judges steps; every step here is a real process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from stair.errors import StairError
from stair.rundir import RunDir
from stair.submit.plan import Plan
from stair.submit.worker import SHOWN_GPUS, only_worker, step_variables
from tests.processes import is_running, wait_for
from tests.submit.scripted import (
    DEAF,
    SERVER,
    TRAINER,
    WAIT_S,
    a_plan,
    a_step,
    script,
    wait_for_line,
    well,
)

WORK = f"""
import sys
from stair.submit import health
from stair.submit.worker import run_plan
health.PATIENCE_S = health.PATIENCE_ALONE_S = {WAIT_S}
sys.exit(run_plan(sys.argv[1]))
"""


def begin(plan: Plan) -> subprocess.Popen:
    run = RunDir(Path(plan.run)).create()
    run.plan.write_text(plan.text())
    return subprocess.Popen([sys.executable, "-c", WORK, str(run.plan)], stderr=subprocess.PIPE, text=True)


def work(plan: Plan) -> tuple[int, dict]:
    process = begin(plan)
    _, said = process.communicate(timeout=WAIT_S)
    assert not said
    return process.returncode, json.loads((Path(plan.run) / "outcome.json").read_text())


def test_steps_run_in_order_and_are_skipped_when_repeated(tmp_path: Path):
    run = tmp_path / "run"
    count = "import sys; open(sys.argv[2], 'a').write(sys.argv[3])"
    seen = tmp_path / "seen"
    plan = a_plan(run, a_step(run, "one", count, seen, 1), a_step(run, "two", count, seen, 2))
    assert work(plan) == (0, {"state": "done", "step": "", "what": "", "hint": ""})
    assert seen.read_text() == "12"
    marker = json.loads((run / "one" / "done.json").read_text())
    assert (marker["settings"], marker["exit_code"]) == (plan.steps[0].digest(), 0)
    assert work(plan)[0] == 0
    assert seen.read_text() == "12"
    assert "skipped" in (run / "logs" / "one.log").read_text()


def test_a_marker_of_other_settings_does_not_count(tmp_path: Path):
    run = tmp_path / "run"
    seen = tmp_path / "seen"
    count = "import sys; open(sys.argv[2], 'a').write('x')"
    for steps in (1, 2):
        assert work(a_plan(run, a_step(run, "one", count, seen, steps=steps)))[0] == 0
    assert seen.read_text() == "xx"


def test_a_failed_step_ends_the_plan_with_its_own_words(tmp_path: Path):
    run = tmp_path / "run"
    fail = "import sys; sys.exit('error: no data in x\\n  try: --train.data.root y')"
    plan = a_plan(run, a_step(run, "one", fail), a_step(run, "two", "open('never', 'w')"))
    code, outcome = work(plan)
    assert (code, outcome["state"], outcome["step"]) == (1, "failed", "one")
    assert outcome["what"] == "step one failed, exit 1: no data in x"
    assert outcome["hint"].startswith("--train.data.root y; all of it in ")
    assert not (run / "one" / "done.json").exists()
    assert not (run / "two").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_lets_the_step_save_itself_and_the_next_attempt_goes_on(tmp_path: Path, number: int):
    run = tmp_path / "run"
    plan = a_plan(run, a_step(run, "one", TRAINER))
    process = begin(plan)
    wait_for_line(run / "logs" / "one.log", "step 3 ")
    process.send_signal(number)
    assert process.wait(timeout=WAIT_S) == 75
    assert json.loads((run / "outcome.json").read_text())["state"] == "stopped"
    saved = int((run / "one" / "state").read_text())
    assert saved >= 3
    assert work(plan)[0] == 0
    assert f"trained from {saved}" in (run / "logs" / "one.log").read_text()


def test_a_second_signal_ends_a_step_that_does_not_leave(tmp_path: Path):
    run = tmp_path / "run"
    process = begin(replace(a_plan(run, a_step(run, "one", DEAF)), grace_s=10 * WAIT_S))
    wait_for_line(run / "logs" / "one.log", "deaf\n")
    process.terminate()
    wait_for_line(run / "logs" / "one.log", "told\n")  # of two that come together only one would arrive
    process.terminate()
    assert process.wait(timeout=WAIT_S) == 75


@pytest.mark.parametrize("word", ["logs/worker.stop", "cancelled"])
def test_who_was_told_to_leave_before_it_listened_begins_nothing(tmp_path: Path, word: str):
    run = tmp_path / "run"
    plan = a_plan(run, a_step(run, "one", "print('hello')"))
    (run / "logs").mkdir(parents=True)
    (run / word).write_text(".")
    code, outcome = work(plan)
    assert (code, outcome["state"], outcome["step"]) == (75, "stopped", "one")
    assert "hello" not in (run / "logs" / "one.log").read_text()
    assert not (run / "one" / "done.json").exists()


def test_a_worker_waits_for_its_sender_to_write_all_down(tmp_path: Path):
    run = tmp_path / "run"
    plan = a_plan(run, a_step(run, "one", "print('hello')"))
    with only_worker(RunDir(run)):
        process = begin(plan)
        lock = os.path.realpath(run / "logs" / "worker.lock")
        files = Path(f"/proc/{process.pid}/fd")
        wait_for(lambda: lock in {os.path.realpath(file) for file in files.iterdir()})
        assert process.poll() is None
    assert process.wait(timeout=WAIT_S) == 0
    assert "hello" in (run / "logs" / "one.log").read_text()


def test_a_server_is_ready_before_its_step_and_gone_after_it(tmp_path: Path):
    run = tmp_path / "run"
    ask = """
import sys, urllib.request
from pathlib import Path
address = Path(sys.argv[2]).read_text().replace("ws", "http", 1)
print("status", urllib.request.urlopen(address + "/healthz").status)
"""
    where = run / "one" / "server.address"
    step = a_step(run, "one", ask, where, server=script(SERVER, where))
    assert work(a_plan(run, step))[0] == 0
    assert "status 200" in (run / "logs" / "one.log").read_text()
    assert not is_running(Path(f"{where}.pid").read_text())


def test_a_server_that_dies_fails_the_step_with_the_servers_words(tmp_path: Path):
    run = tmp_path / "run"
    where = run / "one" / "server.address"
    begun = tmp_path / "begun"
    wait = "import pathlib, sys, time; pathlib.Path(sys.argv[2]).touch(); time.sleep(3600)"
    step = a_step(run, "one", wait, begun, server=script(SERVER, where, begun))
    code, outcome = work(a_plan(run, step))
    assert code == 1
    assert outcome["what"] == "step one failed, its policy server died, exit 9: out of memory"
    assert "one-server.log" in outcome["hint"]


def test_a_server_that_never_starts_fails_the_step(tmp_path: Path):
    run = tmp_path / "run"
    step = a_step(run, "one", "", server=script("import sys; sys.exit('error: no model in x')"))
    code, outcome = work(a_plan(run, step))
    assert code == 1
    assert "did not start, exit 1: no model in x" in outcome["what"]


def test_a_step_that_was_killed_is_said_to_be(tmp_path: Path, monkeypatch):
    run = tmp_path / "run"
    for when in ("", "end"):
        well(RunDir(run).fact_sheet("7", 0, socket.gethostname(), when))
    monkeypatch.setenv("SUBMITIT_LOCAL_JOB_ID", "7")
    outcome = work(a_plan(run, a_step(run, "one", "import os; print('step 3'); os.kill(os.getpid(), 9)")))[1]
    assert outcome["what"] == "step one failed, killed by SIGKILL, often for want of memory"


@pytest.mark.skipif(Path("/proc/driver/nvidia/version").exists(), reason="this machine has an NVIDIA driver")
def test_a_failure_that_the_doctor_explains_is_told_with_the_finding_and_its_cure(tmp_path: Path):
    run = tmp_path / "run"
    fail = """
import sys, time
from pathlib import Path
while not list(Path(sys.argv[2]).glob("doctor/*.json")):
    time.sleep(0.02)
sys.exit("torch sees no GPU")
"""
    step = replace(a_step(run, "one", fail, run), gpus=1)
    outcome = work(a_plan(run, step))[1]
    assert outcome["what"].startswith("step one failed, exit 1: torch sees no GPU; there is no NVIDIA driver")
    assert outcome["what"].endswith("[driver.absent]")
    assert "--render cpu" in outcome["hint"]
    assert "doctor: error: there is no NVIDIA driver" in (run / "logs" / "one.log").read_text()
    assert len(list((run / "doctor").iterdir())) == 2


def test_two_workers_do_not_share_a_run_folder(tmp_path: Path):
    run = RunDir(tmp_path)
    with only_worker(run), pytest.raises(StairError, match="another job is at work"), only_worker(run):
        pass
    with only_worker(run):
        pass


def test_steps_see_the_gpus_that_the_sender_saw(tmp_path: Path):
    step = a_step(tmp_path, "one", "")
    plan = a_plan(tmp_path, step)
    host = {"CUDA_VISIBLE_DEVICES": "", SHOWN_GPUS: "1"}  # the empty one is submitit's
    assert step_variables(plan, step, host)["CUDA_VISIBLE_DEVICES"] == "1"
    assert "CUDA_VISIBLE_DEVICES" not in step_variables(plan, step, {"CUDA_VISIBLE_DEVICES": ""})


def test_the_environment_of_a_step_is_the_hosts_and_the_plans(tmp_path: Path):
    run = tmp_path / "run"
    show = "import os; print(os.environ['PYTHONUNBUFFERED'], os.environ['HOME'] != '', os.getcwd())"
    assert work(a_plan(run, a_step(run, "one", show)))[0] == 0
    assert f"1 True {os.path.realpath(tmp_path)}" in (run / "logs" / "one.log").read_text()
