"""What becomes of processes that a test has started, or that those have started."""

from __future__ import annotations

from pathlib import Path


def is_running(pid: int | str) -> bool:
    """Whether it lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
