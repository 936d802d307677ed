"""The spy of the cluster line blames nobody for what another program was told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lines.spy import look_at
from tools.devslurm.system import wait_until

BECOMES = """
import os, sys
print(flush=True)
sys.stdin.readline()
os.execve("/bin/sleep", ["sleep", "600"], {"SECRET": "told"})
"""


def test_a_process_that_becomes_another_between_two_looks_is_looked_at_again(monkeypatch: pytest.MonkeyPatch):
    pipe = subprocess.PIPE
    child = subprocess.Popen([sys.executable, "-c", BECOMES], stdin=pipe, stdout=pipe)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdout.readline()
    read = Path.read_bytes

    def slow(path: Path) -> bytes:
        content = read(path)
        if path.name == "cmdline" and not child.stdin.closed:
            child.stdin.close()
            assert wait_until(lambda: b"SECRET" in read(Path(f"/proc/{child.pid}/environ")), 60.0)
        return content

    monkeypatch.setattr(Path, "read_bytes", slow)
    try:
        assert look_at(child.pid) is None
        assert look_at(child.pid) == (b"sleep\x00600\x00", b"SECRET=told\x00")
    finally:
        child.kill()
        child.wait()
