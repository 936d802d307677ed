"""What a file holds, as sha256, without reading a 4 GB image twice.

Takes paths, hands on hex digests, and remembers those of large files (`remembered.py`). The surprise: a
file touched seconds ago is not remembered, since a second change within the same tick of the file
system's clock would look the same (git calls such an entry racily clean).
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from stair.cluster.remembered import file_key, recall, remember
from stair.errors import StairError

Progress = Callable[[int, int], None]
"""Called with the bytes read so far and the bytes in all."""

BLOCK_BYTES = 8 << 20
REMEMBERED_FROM_BYTES = 1 << 20
"""Smaller files are read faster than the cache is."""
PROGRESS_FROM_BYTES = 1 << 30
SETTLED_S = 3.0
"""How long a file must have been left alone to be remembered; the coarsest clock, FAT's, ticks every 2 s."""


def file_digest(path: Path | str, *, fresh: bool = False, progress: Progress | None = None) -> str:
    """The sha256 of a file in hex.

    `fresh` reads it whatever is remembered, as the job does that is about to use it. `progress` is called
    for files from 1 GiB on. Raises StairError when it cannot be read, or changes while it is being read.
    """
    path = Path(path)
    try:
        with path.open("rb", buffering=0) as file:
            facts = os.fstat(file.fileno())
            key = file_key(path, facts)
            large = facts.st_size >= REMEMBERED_FROM_BYTES
            if large and not fresh and (known := _recall(key)):
                return known
            started = time.time()
            digest = _read(file, progress if facts.st_size >= PROGRESS_FROM_BYTES else None, facts.st_size)
            if file_key(path, os.fstat(file.fileno())) != key:
                raise StairError(f"{path} changed while it was read", hint="wait until it has been written")
    except OSError as error:
        raise StairError(f"cannot read {path}: {error.strerror}", hint="check path and rights") from None
    if large and started - facts.st_ctime > SETTLED_S:
        remember("digests.jsonl", key, digest)
    return digest


def folder_digest(folder: Path | str, patterns: Sequence[str] = ("**/*",)) -> dict[str, str]:
    """Relative path → sha256 of every file that matches one of the patterns, in sorted order.

    For model folders and code trees; patterns are those of `Path.glob`. Raises StairError for a folder
    that is none, and for a file that cannot be read (a dangling link among them).
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise StairError(f"{folder} is no folder", hint="check the path")
    found = {path for pattern in patterns for path in folder.glob(pattern) if not path.is_dir()}
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in sorted(found)}


def _recall(key) -> str | None:
    known = recall("digests.jsonl", key)
    return known if isinstance(known, str) and re.fullmatch("[0-9a-f]{64}", known) else None


def _read(file: io.RawIOBase, progress: Progress | None, size: int) -> str:
    digest, block, done = hashlib.sha256(), bytearray(BLOCK_BYTES), 0
    view = memoryview(block)
    while count := file.readinto(block):
        digest.update(view[:count])
        done += count
        if progress:
            progress(done, size)
    return digest.hexdigest()
