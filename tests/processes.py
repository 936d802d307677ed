"""What becomes of processes that a test has started, or that those have started."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

START_S = 300.0
"""For anything to begin: an image whose pages are in no cache, on cores that others use."""


def is_running(pid: int | str) -> bool:
    """Whether it lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Until it is true: who kills does not wait for the end, and who starts not for the beginning."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.02)


def said(file: Path) -> str:
    """What a process wrote into a file; nothing where it has not made the file yet."""
    return file.read_text() if file.exists() else ""


def limited_from(begun: Callable[[], Any]) -> type[subprocess.Popen[Any]]:
    """A Popen whose time limits count from when `begun` is true: on a busy machine a start is slow."""

    class Limited(subprocess.Popen[Any]):
        def wait(self, timeout: float | None = None) -> int:
            if timeout is not None:
                wait_for(lambda: begun() or self.poll() is not None, START_S)
            return super().wait(timeout)

        def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
            deadline = time.monotonic() + START_S
            while not begun() and time.monotonic() < deadline:
                try:
                    return super().communicate(input, 0.1)
                except subprocess.TimeoutExpired:
                    input = None  # it is being sent
            return super().communicate(input, timeout)

    return Limited
