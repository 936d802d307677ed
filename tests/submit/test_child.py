"""Children start with a log, leave when told, and are ended for certain."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from stair.errors import StairError
from stair.submit.child import Child, _follow, read_last_words
from tests.processes import is_running, wait_for

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
print(grandchild.pid, flush=True)
time.sleep(3600)
"""


def start(code: str, log: Path) -> Child:
    return Child([sys.executable, "-c", code], log=log, cwd="/", environment=os.environ)


def test_a_child_that_ignores_the_order_is_killed_with_its_own_children(tmp_path: Path):
    log = tmp_path / "log"
    child = start(STUBBORN, log)
    wait_for(lambda: log.read_text().endswith("\n"))
    grandchild = int(log.read_text())
    assert is_running(grandchild)
    started = time.monotonic()
    assert child.end(0.3) == -9
    assert time.monotonic() - started > 0.25
    wait_for(lambda: not is_running(grandchild))


def test_a_child_dies_with_a_parent_that_was_killed(tmp_path: Path):
    code = f"""
import os, sys
from pathlib import Path
from stair.submit.child import Child
child = Child([sys.executable, "-c", "import time; time.sleep(3600)"], log=Path({str(tmp_path / "log")!r}),
              cwd="/", environment=os.environ)
Path({str(tmp_path / "pid")!r}).write_text(str(child.process.pid))
os.kill(os.getpid(), 9)
"""
    parent = start(code, tmp_path / "parent.log")
    wait_for(lambda: parent.exit_code() is not None)
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not is_running(pid))


def test_a_child_whose_parent_was_killed_before_it_could_be_told_so_does_not_begin(tmp_path: Path):
    begun = tmp_path / "begun"
    done = subprocess.run(["touch", str(begun)], preexec_fn=partial(_follow, os.getppid()))
    assert done.returncode == 1
    assert not begun.exists()


def test_last_words_are_of_this_attempt_only(tmp_path: Path):
    log = tmp_path / "log"
    log.write_text("error: of yesterday\n  try: something\n")
    child = start("import sys; sys.exit('error: of today')", log)
    wait_for(lambda: child.exit_code() is not None)
    assert child.last_words().what == "of today"


@pytest.mark.parametrize(
    ("lines", "what", "hint"),
    [
        (
            ["step 3", "error: no data in x", "  try: --train.data.root y", ""],
            "no data in x",
            "--train.data.root y",
        ),
        (["error: one", "error: two", "step"], "two", ""),
        (["Traceback", "  File", "ValueError: five", " "], "ValueError: five", ""),
        ([], "it said nothing", ""),
    ],
)
def test_last_words_are_the_error_or_the_last_line(lines: list[str], what: str, hint: str):
    said = read_last_words(lines)
    assert (said.what, said.hint) == (what, hint)


def test_a_command_that_does_not_exist_is_an_expected_failure(tmp_path: Path):
    with pytest.raises(StairError, match="cannot start no-such-program"):
        Child(["no-such-program"], log=tmp_path / "log", cwd="/", environment=os.environ)
