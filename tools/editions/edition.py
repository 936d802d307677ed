"""What a conversion made, and whether there is room for the rest of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.disk import require_space

FIRST_LOOK = 5
"""Episodes after which their size is known well enough to tell whether all will fit."""
EVERY = 50
"""Episodes between two looks: others write to the same disk."""
SPARE = 64 << 20


@dataclass(frozen=True)
class Edition:
    """A written data set."""

    form: str
    """e.g. `LeRobot v2.1, av1`"""
    episodes: int
    steps: int
    bytes: int
    left_out: Mapping[str, int]
    """Episodes of the source that are not in it, by reason."""


class Room:
    """Watches that what remains to be written will fit on the disk, judged by what was written."""

    def __init__(self, folder: Path, episodes: int) -> None:
        self.folder, self.episodes = folder, episodes
        require_space(folder, SPARE)
        self.done = self.bytes = 0

    def wrote(self, count: int, left: int) -> None:
        """One more episode of so many bytes; `left` are to come. Raises StairError when they will not fit;
        what is written stays and is gone on with."""
        self.done += 1
        self.bytes += count
        if self.done == FIRST_LOOK or self.done % EVERY == 0:
            require_space(self.folder, SPARE + left * self.bytes // self.done)


def folder_bytes(folder: Path) -> int:
    """Of all files below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
