"""Who is asked, in which words, and what becomes of those who do not answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from stair.cluster.slurm_facts import Node, Partition, SlurmFacts
from stair.cluster.slurm_text import Gres
from stair.doctor import fleet, srun
from stair.doctor.fleet import Asked, Choice, at_one_time, choose, choose_inside, visit_nodes
from stair.doctor.srun import NoNodes, Party, run_srun, srun_words
from stair.doctor.visit import Order
from stair.errors import UsageError
from tests.processes import wait_for

NODES = {
    "n1": Node("n1", "IDLE", gres=(Gres("gpu", "h100", 8),)),
    "n2": Node("n2", "MIXED", gres=(Gres("gpu", "h100", 8),)),
    "n3": Node("n3", "ALLOCATED"),
    "n4": Node("n4", "IDLE", frozenset({"DRAIN"}), reason="bad GPU [root@2026]"),
    "n5": Node("n5", "DOWN", frozenset({"NOT_RESPONDING"})),
    "n6": Node("n6", "IDLE"),
}
FACTS = SlurmFacts(
    nodes=NODES,
    partitions={
        "train": Partition("train", default=True, nodes=("n1", "n2", "n3", "n4", "n5")),
        "debug": Partition("debug", nodes=("n1", "n6")),
    },
)


def test_all_nodes_are_those_of_the_partition_and_who_cannot_be_asked_is_named():
    choice = choose(Asked(all_nodes=True), FACTS)
    assert [(party.partition, party.names) for party in choice.parties] == [("train", ("n1", "n2"))]
    assert choice.absent == {
        "n3": "busy (ALLOCATED): other jobs have all of its cores",
        "n4": "Slurm says IDLE+DRAIN: bad GPU [root@2026]",
        "n5": "Slurm says DOWN+NOT_RESPONDING",
    }


def test_a_node_of_two_partitions_is_asked_once():
    choice = choose(Asked(all_nodes=True, partition="train,debug"), FACTS)
    assert [party.names for party in choice.parties] == [("n1", "n2"), ("n6",)]


def test_named_nodes_are_waited_for_even_when_they_are_busy():
    choice = choose(Asked(nodelist="n[2-4]"), FACTS)
    assert choice.parties[0].names == ("n2", "n3")
    assert set(choice.absent) == {"n4"}


def test_nodes_with_too_few_gpus_are_not_asked():
    choice = choose(Asked(all_nodes=True, partition="debug", gpus_per_node=4), FACTS)
    assert choice.parties[0].names == ("n1",)
    assert choice.parties[0].gres == "gpu:4"
    assert choice.absent == {"n6": "it has 0 GPUs, 4 are asked"}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked(all_nodes=True, partition="trian"), "unknown partition 'trian'"),
        (Asked(nodelist="n1,n77"), "Slurm has no node 'n77'"),
        (Asked(nodelist="n6"), "n6 not in partition train"),
        (Asked(nodelist="n["), "is no list of hosts"),
    ],
)
def test_what_does_not_exist_is_refused(asked: Asked, said: str):
    with pytest.raises(UsageError, match=said.replace("[", r"\[")):
        choose(asked, FACTS)


def test_inside_a_job_its_nodes_are_meant():
    nodes = ("n1", "n2", "n3")
    assert choose_inside(Asked(all_nodes=True), "7", nodes).parties[0] == Party(nodes, job="7")
    assert choose_inside(Asked(nodes=2), "7", nodes).parties[0].names == ("n1", "n2")
    with pytest.raises(UsageError, match="'n9' is no node of job 7"):
        choose_inside(Asked(nodelist="n9"), "7", nodes)
    with pytest.raises(UsageError, match="has 3 nodes, 4 are asked"):
        choose_inside(Asked(nodes=4), "7", nodes)


def test_one_srun_has_one_task_on_each_node_and_outlives_a_lost_one():
    party = Party(("n1", "n2", "n10"), partition="p", account="a", gres="gpu:1")
    words = srun_words(party, "name", wait_s=30, limit_s=90)
    wanted = ["--nodes=3", "--ntasks=3", "--ntasks-per-node=1", "--nodelist=n[1-2,10]", "--no-kill"]
    wanted += ["--partition=p", "--account=a", "--gres=gpu:1", "--immediate=30", "--wait=90", "--time=4"]
    assert set(wanted) <= set(words)
    inside = srun_words(replace(party, job="7"), "name", wait_s=30, limit_s=90)
    assert {"--jobid=7", "--overlap"} <= set(inside)
    assert not [word for word in inside if word.startswith(("--partition", "--immediate", "--time"))]


def test_clocks_are_compared_at_one_moment():
    node = {"clock": 1030.5, "asked": 1020.0}
    assert at_one_time(node, 1000.0) == {"clock": 1010.5}
    assert at_one_time({"clock": None, "asked": 3.0}, 1000.0) == {"clock": None}
    assert at_one_time(None, 1000.0) is None


# A stand-in for srun: does on this machine for each node what the script below says of it.

STAND_IN = """#!{python}
import os, subprocess, sys, time
words = sys.argv[1:]
open({folder!r} + "/calls", "a").write(" ".join(w for w in words if w.startswith("--node")) + "\\n")
names = [w for w in words if w.startswith("--nodelist")]
sys.path.insert(0, {checkout!r})
from stair.cluster.hostlist import expand
names = expand(names[0].partition("=")[2])
text = sys.stdin.read()
{script}
for number, name in enumerate(names):
    environment = dict(os.environ, SLURMD_NODENAME=name)
    start = words[words.index("-c") + 1 :]
    done = subprocess.run(["sh", "-c", *start], input=text, env=environment, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        print(f"{{number}}: {{line}}", flush=True)
    for line in done.stderr.splitlines():
        print(f"{{number}}: {{line}}", file=sys.stderr, flush=True)
"""
LOST = 'if "n2" in names: sys.exit("srun: error: Task launch for X failed on node n2: No route to host")'
BUSY = 'if "n2" in names: sys.exit("srun: error: Unable to allocate resources: Requested nodes are busy")'
WRONG = 'sys.exit("srun: error: Unable to allocate resources: Invalid account")'
BROKEN = "text = \"import sys; sys.exit('libc is gone')\""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts an srun on the PATH, and Slurm's facts in front of it."""

    def make(script: str) -> dict[str, str]:
        program = tmp_path / "srun"
        checkout = str(Path(fleet.__file__).parents[2])
        text = STAND_IN.format(python=sys.executable, folder=str(tmp_path), checkout=checkout, script=script)
        program.write_text(text)
        program.chmod(0o755)
        (tmp_path / "scancel").write_text(f"#!/bin/sh\necho $* >> {tmp_path}/cancelled\n")
        (tmp_path / "scancel").chmod(0o755)
        idle = frozenset({"n1"})
        choice = Choice((Party(("n1", "n2"), partition="p"),), {"n9": "Slurm says DOWN"}, idle)
        monkeypatch.setattr(fleet, "choose", lambda asked, facts: choice)
        monkeypatch.setattr("stair.cluster.slurm.read_cluster", lambda environment: FACTS)
        return {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    return make


def test_nodes_are_looked_at_and_those_that_are_down_are_there_too(stand_in, tmp_path: Path):
    began = time.time()
    visits = visit_nodes(Asked(all_nodes=True), Order(folder=str(tmp_path)), stand_in(""))
    took_s = time.time() - began
    assert [visit.name for visit in visits] == ["n1", "n2", "n9"]
    assert [visit.role for visit in visits] == ["compute"] * 3
    # as of the beginning; here a node is heard of when it has answered
    assert all(visit.host and abs(visit.host["clock"] - began) < took_s + 30 for visit in visits[:2])
    assert visits[2].missing == {"node": "Slurm says DOWN"}


def test_after_an_unreachable_node_the_others_are_asked_again(stand_in, tmp_path: Path):
    visits = visit_nodes(Asked(all_nodes=True), Order(folder=str(tmp_path)), stand_in(LOST))
    assert visits[0].host
    assert visits[1].missing == {"node": "srun cannot reach it: No route to host"}
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[-1] for call in calls] == ["--nodelist=n[1-2]", "--nodelist=n1"]


def test_when_some_are_busy_those_that_are_idle_are_asked(stand_in, tmp_path: Path):
    visits = visit_nodes(Asked(all_nodes=True), Order(folder=str(tmp_path)), stand_in(BUSY))
    assert visits[0].host
    assert visits[1].missing == {"node": "busy: no core was free within 60 s"}


def test_what_slurm_refuses_is_said_in_its_words(stand_in):
    with pytest.raises(NoNodes, match="Invalid account") as error:
        visit_nodes(Asked(all_nodes=True), Order(), stand_in(WRONG))
    assert error.value.exit_code == 3


def test_a_node_on_which_it_fails_says_why(stand_in):
    visits = visit_nodes(Asked(all_nodes=True), Order(), stand_in(BROKEN))
    assert [visit.missing for visit in visits[:2]] == [{"node": "libc is gone"}] * 2


def test_without_slurm_it_is_said_so(tmp_path: Path):
    with pytest.raises(NoNodes, match="no 'srun' on PATH"):
        run_srun(Party(("n1",)), "", {"PATH": str(tmp_path)}, wait_s=1, limit_s=1)


def test_a_silent_srun_is_ended_and_its_job_cancelled(stand_in, tmp_path: Path):
    environment = stand_in("time.sleep(600)")
    began = time.monotonic()
    said = run_srun(Party(("n1",)), "", environment, wait_s=1, limit_s=0.5)
    assert not said.in_time
    assert time.monotonic() - began < 100
    assert (tmp_path / "cancelled").read_text().startswith("--name=stair-doctor-")


@pytest.mark.usefixtures("heard_interrupts")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_srun_and_cancels_the_job(stand_in, tmp_path: Path, number: signal.Signals):
    environment = {**os.environ, **stand_in(f"open({str(tmp_path)!r} + '/up', 'w').close(); time.sleep(600)")}
    code = (
        "import os; from stair.console import run_command; from stair.doctor.srun import Party, run_srun;"
        "call = lambda: run_srun(Party(('n1',)), '', os.environ, wait_s=60, limit_s=60);"
        "raise SystemExit(run_command(call))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, cwd=Path(fleet.__file__).parents[2]
    )
    try:
        wait_for((tmp_path / "up").exists)
        child.send_signal(number)
        assert child.wait(100) == 130
    finally:
        child.kill()
        child.wait()
    assert "--name=stair-doctor-" in (tmp_path / "cancelled").read_text()
    assert not alive(tmp_path / "srun")


@pytest.mark.usefixtures("heard_interrupts")
def test_ctrl_c_while_srun_is_being_started_ends_it_all_the_same(stand_in, tmp_path: Path, monkeypatch):
    class Interrupted(subprocess.Popen):
        def __init__(self, words, **more):
            super().__init__(words, **more)
            if words[0] == "srun":
                signal.raise_signal(signal.SIGINT)

    environment = stand_in("time.sleep(600)")
    monkeypatch.setattr(srun.subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_srun(Party(("n1",)), "", environment, wait_s=60, limit_s=60)
    assert (tmp_path / "cancelled").read_text().startswith("--name=stair-doctor-")
    assert not alive(tmp_path / "srun")


@pytest.mark.usefixtures("heard_interrupts")
def test_a_second_ctrl_c_does_not_keep_the_job_from_being_cancelled(stand_in, tmp_path: Path, monkeypatch):
    """Of somebody who does not wait until srun has tidied up."""

    class Impatient(subprocess.Popen):
        def wait(self, timeout=None):
            if timeout == srun.GENTLE_S:
                signal.raise_signal(signal.SIGINT)
            return super().wait(timeout)

    environment = stand_in("time.sleep(600)")
    monkeypatch.setattr(srun.subprocess, "Popen", Impatient)
    with pytest.raises(KeyboardInterrupt):
        run_srun(Party(("n1",)), "", environment, wait_s=1, limit_s=0.5)
    assert (tmp_path / "cancelled").read_text().startswith("--name=stair-doctor-")
    assert not alive(tmp_path / "srun")


def alive(program: Path) -> list[Path]:
    """Where /proc has it."""
    return [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(program) in _read(path)]


def _read(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
