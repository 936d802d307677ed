"""How a step ended is told by who ended first."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from stair.cluster import graphics
from stair.cluster.container import Bind, ContainerConfig, in_container, runtime_environment
from stair.cluster.graphics import Graphics
from stair.submit import stepping
from stair.submit.stepping import Stage, Stop, run_step
from tests.processes import is_running, wait_for
from tests.submit.scripted import SERVER, WAIT_S, a_step, script

DIES = SERVER.replace('os")._exit(9)', 'os").kill(__import__("os").getpid(), 9)')
MOURNS = """
import os, sys, time, urllib.request
from pathlib import Path
Path(sys.argv[3]).write_text(str(os.getpid()))
while True:
    try:
        urllib.request.urlopen(Path(sys.argv[2]).read_text().replace("ws", "http") + "/healthz")
    except OSError:
        sys.exit("error: the policy server is gone")
    time.sleep(0.01)
"""


def a_stage(folder: Path) -> Stage:
    return Stage(
        cwd=str(folder),
        log=folder / "step.log",
        server_log=folder / "server.log",
        environment=lambda argv: dict(os.environ),
        grace_s=5.0,
    )


def test_a_step_that_ends_with_its_server_is_begun_again_for_the_servers_sake(tmp_path: Path, monkeypatch):
    """An explained error would not be: a command that is wrong stays wrong."""
    address, mourner = tmp_path / "one" / "server.address", tmp_path / "mourner"
    dies = tmp_path / "dies"
    step = a_step(tmp_path, "one", MOURNS, address, mourner, server=script(DIES, address, dies))

    def sleep(seconds: float) -> None:
        """Between two looks, in the first of which both are at work, both end."""
        time.sleep(seconds)
        if mourner.exists():
            dies.touch()
            files = (Path(f"{address}.pid"), mourner)
            wait_for(lambda: not any(is_running(file.read_text() or os.getpid()) for file in files), WAIT_S)

    clock = SimpleNamespace(sleep=sleep, time=time.time, monotonic=time.monotonic)
    monkeypatch.setattr(stepping, "time", clock)
    ending = run_step(step, a_stage(tmp_path), Stop())
    assert (ending.verdict, ending.cause) == ("retryable", "crash")
    assert "policy server died, killed by SIGKILL" in ending.why
    assert "the policy server is gone" in (tmp_path / "step.log").read_text()


@pytest.mark.parametrize("who", ["step", "server"])
def test_who_died_of_the_order_to_leave_before_we_heard_it_has_left(tmp_path: Path, monkeypatch, who: str):
    """Slurm signals all processes of a step, one after the other."""
    stop, pid = Stop(patient=True), tmp_path / "pid"
    dies = f"""
import os, pathlib, signal, sys
pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))
os.kill(os.getpid(), signal.SIGUSR2)
"""
    stays = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: exit(75)); time.sleep(3600)"

    def sleep(seconds: float) -> None:
        """Once somebody is dead we hear it, but at the second look at the earliest."""
        dead = pid.exists() and not is_running(pid.read_text() or os.getpid())
        stop.asked += dead and sleep.seen
        sleep.seen = dead
        time.sleep(seconds)

    sleep.seen = False
    clock = SimpleNamespace(sleep=sleep, time=time.time, monotonic=time.monotonic)
    monkeypatch.setattr(stepping, "time", clock)
    monkeypatch.setattr(stepping, "OWN_SIGNAL_S", WAIT_S)
    address = tmp_path / "one" / "server.address"
    server = script(SERVER.replace("def die():", f"def die():\n        exec({dies!r})"), address, tmp_path)
    step = a_step(tmp_path, "one", stays, server=server) if who == "server" else a_step(tmp_path, "one", dies)
    assert run_step(step, a_stage(tmp_path), stop).verdict == "checkpointed"


@pytest.mark.parametrize(("code", "verdict"), [(143, "checkpointed"), (75, "checkpointed"), (3, "fatal")])
def test_who_leaves_with_the_code_of_the_order_to_leave_has_left(tmp_path: Path, code: int, verdict: str):
    """Evaluations do, and shells whose program was ended."""
    listens, stop = tmp_path / "listens", Stop()
    leaves = f"""
import os, pathlib, signal, time
signal.signal(signal.SIGTERM, lambda *_: os._exit({code}))
pathlib.Path({str(listens)!r}).touch()
time.sleep(3600)
"""

    def told() -> bool:
        stop.asked = int(listens.exists())
        return False

    stage = replace(a_stage(tmp_path), replaced=told, grace_s=WAIT_S)
    assert run_step(a_step(tmp_path, "one", leaves), stage, stop).verdict == verdict


def test_a_server_that_takes_its_address_back_has_not_started(tmp_path: Path, monkeypatch):
    """It does so when it ends, between a look whether there is one and the reading of it."""
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path.name == "server.address" or exists(path))
    step = a_step(tmp_path, "one", "", server=script("import sys; sys.exit('error: no model in x')"))
    ending = run_step(step, a_stage(tmp_path), Stop())
    assert ending.why == "its policy server did not start, exit 1: no model in x"


def test_an_image_with_gpus_starts_with_what_this_nodes_driver_needs_and_the_log_tells(
    tmp_path: Path, monkeypatch
):
    here = Graphics((Bind("/lib/a.so.1", "/d/a.so.1", True),), {"VK_DRIVER_FILES": "/v"}, ("bound: a.so.1",))
    monkeypatch.setattr(graphics, "graphics_of_this_node", lambda environment: here)
    program = tmp_path / "apptainer"
    program.write_text('#!/bin/sh\necho "$*" "$APPTAINERENV_VK_DRIVER_FILES"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for gpus in (True, False):
        log = tmp_path / f"{gpus}.log"
        argv = in_container(("draw",), "e.sif", ContainerConfig(), gpus=gpus)
        stage = Stage(
            cwd=str(tmp_path),
            log=log,
            server_log=log,
            environment=lambda argv: runtime_environment(os.environ, (), {}),
            grace_s=5.0,
        )
        ending = run_step(replace(a_step(tmp_path, "one", ""), argv=argv), stage, Stop())
        assert ending.verdict == "done"
        said = log.read_text()
        assert (
            ("── bound: a.so.1\n" in said)
            == ("destination=/d/a.so.1" in said)
            == said.endswith("/v\n")
            == gpus
        )
