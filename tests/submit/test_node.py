"""A node's part of a step: what it needs, what it gives the step, what it says in the end."""

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

from stair.rundir import RunDir
from stair.submit.node import (
    ending_file,
    log_file,
    missing_gpus,
    missing_network,
    rank_logs,
    read_ending,
    rendezvous,
    with_first,
)
from stair.submit.plan import Plan, Step
from stair.submit.seat import Seat
from stair.submit.verdict import Ending
from tests.submit.scripted import SERVER, TRAINER, WAIT_S, a_plan, a_step, script, wait_for_line, well

SLURM = {
    "SLURM_JOB_ID": "13",
    "SLURM_ARRAY_JOB_ID": "12",
    "SLURM_ARRAY_TASK_ID": "3",
    "SLURM_RESTART_COUNT": "2",
    "SLURM_JOB_NODELIST": "n[1-2]",
}


def seat(nodes: int = 1, restart: int = 0) -> Seat:
    return Seat("12_3", "13", 3, restart, tuple(f"n{number + 1}" for number in range(nodes)))


WORK = f"""
import sys
from stair.submit import health, node
health.PATIENCE_S = health.PATIENCE_ALONE_S = {WAIT_S}
sys.exit(node.main(sys.argv[1:]))
"""


def begin(plan: Plan, step: Step, node: int = 0, **more: str) -> subprocess.Popen[str]:
    run = RunDir(Path(plan.run)).create()
    run.plan.write_text(replace(plan, executor="slurm").text())
    words = [sys.executable, "-c", WORK, str(run.plan), step.name]
    environment = {**os.environ, **SLURM, "SLURM_NODEID": str(node), **more}
    return subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True)


def work(plan: Plan, step: Step, node: int = 0, **more: str) -> tuple[int, Ending]:
    process = begin(plan, step, node, **more)
    process.communicate(timeout=WAIT_S)
    return process.returncode, said(plan, step, node)


def said(plan: Plan, step: Step, node: int = 0) -> Ending:
    ending = read_ending(ending_file(RunDir(Path(plan.run)), step, "12_3", 2, node))
    assert ending is not None
    return ending


def test_a_step_that_is_done_says_so_in_the_run_folder(tmp_path: Path):
    run = tmp_path / "run"
    step = a_step(run, "one", "print('hello')")
    code, ending = work(a_plan(run, step), step)
    assert (code, ending.verdict, ending.node) == (0, "done", "n1")
    assert "hello" in (run / "logs/one.log").read_text()
    assert (run / "attempts/one/12_3.2/node-0.json").exists()


def test_the_nodes_of_a_step_get_their_places_and_logs(tmp_path: Path):
    run = tmp_path / "run"
    show = """
import os
for name in sorted(os.environ):
    if name.startswith("STAIR_"):
        print(f"{name}={os.environ[name]}")
"""
    step = replace(a_step(run, "one", show), nodes=2)
    for node in (0, 1):
        assert work(a_plan(run, step), step, node)[1].node == f"n{node + 1}"
    log = (run / "logs/one-node1.log").read_text()
    assert "STAIR_NODES=2\n" in log
    assert "STAIR_NODE_RANK=1\n" in log
    assert "STAIR_ATTEMPT=12_3.2\n" in log
    assert "STAIR_RENDEZVOUS=n1:" in log
    assert f"STAIR_LOGS={run}/logs/one-ranks/12_3.2-node1\n" in log
    assert "STAIR_NODE_RANK=0\n" in (run / "logs/one.log").read_text()


@pytest.mark.parametrize("numbers", [[signal.SIGUSR2], [signal.SIGTERM, signal.SIGUSR2, signal.SIGTERM]])
def test_however_often_it_is_told_the_step_saves_itself(tmp_path: Path, numbers: list[signal.Signals]):
    run = tmp_path / "run"
    slow = TRAINER.replace("state.write_text", "time.sleep(1); state.write_text")
    step = a_step(run, "one", slow)
    process = begin(a_plan(run, step), step)
    wait_for_line(run / "logs/one.log", "step 3 ")
    for number in numbers:
        process.send_signal(number)
    assert process.wait(timeout=WAIT_S) == 0
    ending = said(a_plan(run, step), step)
    assert (ending.verdict, ending.cause, ending.code) == ("checkpointed", "", 75)
    assert int((run / "one/state").read_text()) >= 3


@pytest.mark.parametrize(
    ("code", "verdict", "cause", "why"),
    [
        ("import sys; sys.exit('error: no data\\n  try: x')", "fatal", "", "exit 1: no data"),
        ("import sys; print('error: no such flag'); sys.exit(2)", "fatal", "", "exit 2: no such flag"),
        ("raise SystemExit(70)", "fatal", "", "exit 70: it said nothing"),
        ("print('error: lost'); raise SystemExit(76)", "retryable", "crash", "exit 76: lost"),
        (
            "import os; os.kill(os.getpid(), 9)",
            "retryable",
            "crash",
            "killed by SIGKILL, often for want of memory",
        ),
        ("import os; os.kill(os.getpid(), 11)", "retryable", "crash", "killed by SIGSEGV"),
        ("raise SystemExit(75)", "checkpointed", "", "told to leave, it saved itself and left"),
    ],
)
def test_how_a_step_ends_is_judged_by_its_code(tmp_path: Path, code: str, verdict: str, cause: str, why: str):
    run = tmp_path / "run"
    well(RunDir(run).fact_sheet("12", 2, "n1"))
    well(RunDir(run).fact_sheet("12_3", 2, "n1", "end"))
    step = a_step(run, "one", code)
    returned, ending = work(a_plan(run, step), step)
    assert (ending.verdict, ending.cause, ending.why) == (verdict, cause, why)
    assert returned == (0 if verdict == "checkpointed" else 1)


def test_a_warning_that_comes_while_it_ends_does_not_kill_it(tmp_path: Path):
    """srun would end the other nodes for it, while they save themselves."""
    run = tmp_path / "run"
    step = a_step(run, "one", "raise SystemExit(75)")
    RunDir(run).create().plan.write_text(replace(a_plan(run, step), executor="slurm").text())
    code = """
import os, runpy, signal
class Late:
    def __del__(self, tell=os.kill, me=os.getpid(), number=signal.SIGUSR2):
        tell(me, number)
late = Late()
runpy.run_module("stair.submit.node", run_name="__main__", alter_sys=True)
"""
    words = [sys.executable, "-c", code, str(RunDir(run).plan), "one"]
    process = subprocess.run(words, env={**os.environ, **SLURM, "SLURM_NODEID": "0"}, timeout=WAIT_S)
    assert process.returncode == 0
    assert said(a_plan(run, step), step).verdict == "checkpointed"


def test_a_step_that_knows_no_signals_left_when_told(tmp_path: Path):
    run = tmp_path / "run"
    step = a_step(run, "one", "import time; print('on', flush=True); time.sleep(3600)")
    process = begin(a_plan(run, step), step)
    wait_for_line(run / "logs/one.log", "on\n")
    process.send_signal(signal.SIGUSR2)
    assert process.wait(timeout=WAIT_S) == 0
    ending = said(a_plan(run, step), step)
    assert ending.verdict == "checkpointed"
    assert ending.why.startswith("told to leave, it left without a word")


def test_an_explained_error_on_the_way_out_is_one(tmp_path: Path):
    run = tmp_path / "run"
    fail = "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit('error: disk full'))\n"
    step = a_step(run, "one", fail + "print('on', flush=True); time.sleep(3600)")
    process = begin(a_plan(run, step), step)
    wait_for_line(run / "logs/one.log", "on\n")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=WAIT_S) == 1
    assert said(a_plan(run, step), step).why == "exit 1: disk full"


def test_a_traceback_on_the_way_out_is_no_checkpoint(tmp_path: Path):
    run = tmp_path / "run"
    fail = (
        "import signal, time\nsignal.signal(15, lambda *_: 1 / 0)\nprint('on', flush=True); time.sleep(3600)"
    )
    step = a_step(run, "one", fail)
    process = begin(a_plan(run, step), step)
    wait_for_line(run / "logs/one.log", "on\n")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=WAIT_S) == 1
    assert said(a_plan(run, step), step).why == "exit 1: ZeroDivisionError: division by zero"


def test_members_have_logs_and_endings_of_their_own(tmp_path: Path):
    run = RunDir(tmp_path)
    step = replace(a_step(tmp_path, "eval", "", "{member}"), members=20).of_member(12)
    assert step.argv[-1] == "12"
    assert log_file(run, step) == tmp_path / "logs/eval/00012.log"
    assert log_file(run, step, "server") == tmp_path / "logs/eval/00012-server.log"
    assert ending_file(run, step, "9_1", 0, 0) == tmp_path / "attempts/eval-00012/9_1.0/node-0.json"
    assert rank_logs(run, step, seat(), 0) == tmp_path / "logs/eval/00012-ranks/12_3.0-node0"


def test_what_is_no_ending_is_none(tmp_path: Path):
    assert read_ending(tmp_path / "absent") is None
    (tmp_path / "half").write_text('{"verdict": "do')
    assert read_ending(tmp_path / "half") is None
    (tmp_path / "other").write_text('{"color": "red"}')
    assert read_ending(tmp_path / "other") is None


def test_an_image_without_a_runtime_is_the_nodes_fault_and_a_missing_program_is_not(tmp_path: Path):
    run = tmp_path / "run"
    inside = replace(a_step(run, "one", ""), argv=("apptainer", "exec", "x.sif", "true"))
    assert work(a_plan(run, inside), inside, PATH="/nowhere")[1].cause == "node"
    missing = replace(a_step(run, "two", ""), argv=("no-such-program",))
    ending = work(a_plan(run, missing), missing)[1]
    assert (ending.verdict, ending.cause) == ("fatal", "")
    assert "no-such-program" in ending.why


def test_gpus_that_are_not_there_are_said_to_be_missing(tmp_path: Path):
    step = replace(a_step(tmp_path, "one", ""), gpus=4)
    assert missing_gpus(replace(step, gpus=0), "n3", tmp_path) == ""
    assert missing_gpus(step, "n3", tmp_path) == "n3: 4 GPUs were asked for and no NVIDIA driver is loaded"
    driver = tmp_path / "proc/driver/nvidia"
    (driver / "gpus").mkdir(parents=True)
    (driver / "version").write_text("NVRM version")
    assert "/dev/nvidiactl is missing" in missing_gpus(step, "n3", tmp_path)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").write_text("")
    (driver / "gpus/0000:17:00.0").mkdir()
    assert missing_gpus(step, "n3", tmp_path) == "n3: 4 GPUs were asked for and the driver shows 1"
    assert missing_gpus(replace(step, gpus=1), "n3", tmp_path) == ""


def test_a_network_that_is_not_there_is_named_with_those_that_are(tmp_path: Path):
    have = [name for _, name in socket.if_nameindex()]
    step = a_step(tmp_path, "one", "")

    def missing(**variables: str) -> str:
        return missing_network(replace(step, environment=variables), "n3", tmp_path)

    assert missing(GLOO_SOCKET_IFNAME=have[0], NCCL_SOCKET_IFNAME=f"={have[0]}") == ""
    assert missing(NCCL_SOCKET_IFNAME="^docker0") == ""
    said = missing(GLOO_SOCKET_IFNAME=f"{have[0]},ib9")
    assert said == f"n3: no network interface ib9 (GLOO_SOCKET_IFNAME); it has {', '.join(have)}"
    assert missing(NCCL_IB_HCA="mlx5") == "n3: no InfiniBand adapter mlx5 (NCCL_IB_HCA); it has none"
    (tmp_path / "sys/class/infiniband/mlx5_0").mkdir(parents=True)
    assert missing(NCCL_IB_HCA="mlx5,mlx5_0:1") == ""


def test_a_missing_network_ends_the_attempt_before_the_step_starts(tmp_path: Path):
    run = tmp_path / "run"
    step = replace(a_step(run, "one", "print('started')"), environment={"GLOO_SOCKET_IFNAME": "ib9"})
    code, ending = work(a_plan(run, step), step)
    assert (code, ending.verdict, ending.cause, ending.node) == (1, "retryable", "node", "n1")
    assert not (run / "logs/one.log").exists()
    assert (run / "doctor/12_3-2-n1-end.json").exists()


@pytest.mark.skipif(Path("/proc/driver/nvidia/version").exists(), reason="this machine has an NVIDIA driver")
def test_gpus_that_are_not_there_are_explained_by_the_doctor_and_the_node_is_left(tmp_path: Path):
    run = tmp_path / "run"
    step = replace(a_step(run, "one", "print('started')"), gpus=2)
    ending = work(a_plan(run, step), step)[1]
    assert (ending.verdict, ending.cause, ending.node) == ("retryable", "node", "n1")
    assert ending.why.startswith("n1: 2 GPUs were asked for and no NVIDIA driver is loaded; ")
    assert ending.why.endswith("[driver.absent]")
    assert "driver.absent" in ending.findings
    assert not (run / "logs/one.log").exists()


def test_nodes_meet_on_the_first_at_a_port_of_the_attempt(tmp_path: Path):
    step = replace(a_step(tmp_path, "one", ""), nodes=2)
    assert rendezvous(replace(step, nodes=1), seat(), 0) == {}
    ports = {
        rendezvous(step, seat(2, restart), node)["STAIR_RENDEZVOUS"] for node in (0, 1) for restart in (0, 1)
    }
    assert len(ports) == 2
    assert all(place.startswith("n1:") and 15_000 <= int(place[3:]) < 31_000 for place in ports)


def test_the_first_to_fail_speaks_for_its_node(tmp_path: Path):
    ending = Ending("retryable", "crash", "exit 76: x", "h", "all.log", 76, "n1", 9.0)
    assert with_first(ending, tmp_path) == ending
    first = {"rank": 1, "code": -9, "time": 5.0, "what": "rank 1 was killed", "hint": "look", "log": "1.log"}
    (tmp_path / "first.json").write_text(json.dumps(first))
    assert with_first(ending, tmp_path) == Ending(
        "retryable", "crash", "rank 1 was killed", "look", "1.log", -9, "n1", 5.0
    )
    done = Ending("checkpointed", code=75)
    assert with_first(done, tmp_path) == done


def test_a_node_on_which_nothing_can_be_drawn_is_unfit_for_its_evaluation_only(tmp_path: Path):
    run = tmp_path / "run"
    code = "print('error: no Vulkan driver file'); raise SystemExit(3)"
    step = a_step(run, "one", code, "stair.evaluate")
    ending = work(a_plan(run, step), step)[1]
    assert (ending.verdict, ending.cause, ending.node) == ("retryable", "node", "n1")
    assert ending.why == "exit 3: no Vulkan driver file"
    other = a_step(run, "two", code)
    assert work(a_plan(run, other), other)[1].verdict == "fatal"


def test_with_layout_split_server_and_simulators_see_different_gpus(tmp_path: Path):
    run = tmp_path / "run"
    show = "import os; print('sees', os.environ['CUDA_VISIBLE_DEVICES'], flush=True)\n"
    step = a_step(run, "one", show)
    server = script(show + SERVER, step.address_file)
    step = replace(step, server=server, layout="split")
    assert work(a_plan(run, step), step, CUDA_VISIBLE_DEVICES="5,7")[0] == 0
    assert "sees 5\n" in (run / "logs/one-server.log").read_text()
    assert "sees 7\n" in (run / "logs/one.log").read_text()


def test_layout_split_on_a_node_that_gave_one_gpu_is_said_to_be_that(tmp_path: Path):
    run = tmp_path / "run"
    step = replace(a_step(run, "one", "print('started')"), layout="split")
    ending = work(a_plan(run, step), step, CUDA_VISIBLE_DEVICES="5")[1]
    assert ending.verdict == "fatal"
    assert ending.why == "n1: layout split needs two GPUs, and CUDA_VISIBLE_DEVICES is '5'"
