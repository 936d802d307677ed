"""Bytes for people: is there room, how much is it, how far is it.

Asked before gigabytes are fetched or written, not after.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from stair.console import Progress
from stair.errors import StairError

MB = 10**6


def size_text(count: int) -> str:
    """Bytes in words: 30.2 GB."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def require_space(folder: Path, needed: int) -> None:
    """Raises StairError when the disk that `folder` is, or will be, on has less than `needed` bytes free."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise StairError(
            f"{folder} needs {size_text(needed)}, the disk has {size_text(free)} free",
            hint=f"make room for {size_text(needed - free)} more, or choose another place",
        )


def byte_progress(name: str, total: int, *, done: int = 0) -> Callable[[int], None]:
    """A progress line in megabytes; what is returned hears how many bytes are done, as often as one likes."""
    progress = Progress(f"{name}, MB", max(1, total // MB))
    progress.resume_at(done // MB)
    shown = -1

    def told(count: int) -> None:
        nonlocal shown
        megabytes = min(count // MB, progress.total)
        if megabytes != shown:
            shown = megabytes
            progress.update(megabytes)

    return told
