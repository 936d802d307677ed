"""What the files of simulators are known by; standard library only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path


def git_id(file: Path) -> str:
    """The first 16 digits of the id that git gives to the file's content."""
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()[:16]


def a_few(paths: Sequence[str]) -> str:
    """The first three, and how many more."""
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(paths[:3]) + more
