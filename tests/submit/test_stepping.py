"""How a step ended is told by who ended first."""

from __future__ import annotations

import os
from pathlib import Path

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
