"""How a step ended is told by who ended first."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from stair.cluster import graphics
from stair.cluster.container import Bind, ContainerConfig, in_container, runtime_environment
from stair.cluster.graphics import Graphics
from stair.submit import stepping
from stair.submit.stepping import Stage, Stop, run_step
from tests.submit.scripted import SERVER, a_step, script

DIES = SERVER.replace('os")._exit(9)', 'os").kill(__import__("os").getpid(), 9)')
MOURNS = """
import sys, time, urllib.request
from pathlib import Path
while True:
    try:
        urllib.request.urlopen(Path(sys.argv[2]).read_text().replace("ws", "http") + "/healthz")
    except OSError:
        sys.exit("error: the policy server is gone")
    time.sleep(0.01)
"""


def test_a_step_that_ends_with_its_server_is_begun_again_for_the_servers_sake(tmp_path: Path, monkeypatch):
    """An explained error would not be: a command that is wrong stays wrong."""
    monkeypatch.setattr(stepping, "POLL_S", 1.0)  # both have ended by the next look
    address = tmp_path / "one" / "server.address"
    step = a_step(tmp_path, "one", MOURNS, address, server=script(DIES, address, 1.5))
    stage = Stage(
        cwd=str(tmp_path),
        log=tmp_path / "step.log",
        server_log=tmp_path / "server.log",
        environment=lambda argv: dict(os.environ),
        grace_s=5.0,
    )
    ending = run_step(step, stage, Stop())
    assert (ending.verdict, ending.cause) == ("retryable", "crash")
    assert "policy server died, killed by SIGKILL" in ending.why
    assert "the policy server is gone" in (tmp_path / "step.log").read_text()


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
