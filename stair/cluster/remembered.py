"""What was found out about files, so that it need not be found out again: JSON lines in a cache folder.

Takes a cache file's name, a key and a value, hands back the value that was added last. The surprise:
nothing here ever fails. A cache that is absent, torn, full, unreadable or writable by others is an empty
one, since everything in it can be found out again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

LONGEST_BYTES = 1 << 20
"""A cache file that has grown beyond this begins anew: 3,000 lines or so, parsed in milliseconds."""

FileKey = tuple[str, int, int, int, int]


def file_key(path: Path | str, facts: os.stat_result) -> FileKey:
    """What tells one state of a file from another: path, inode, size, mtime and ctime in nanoseconds.

    No device number: on shared file systems it differs from node to node. ctime changes with every write
    and cannot be set, so a restored mtime hides nothing.
    """
    return (os.path.realpath(path), facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def cache_folder() -> Path:
    """$STAIR_CACHE, or the folder stair in the user's cache folder."""
    if named := os.environ.get("STAIR_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "stair"


def recall(name: str, key: FileKey) -> Any:
    """What the cache file `name` says last about `key`, or None."""
    wanted = list(key)
    for line in reversed(_lines(cache_folder() / name)):
        try:
            record = json.loads(line)
        except ValueError:
            continue  # torn by a writer beside us, or by a full disk
        if isinstance(record, dict) and record.get("key") == wanted:
            return record.get("value")
    return None


def remember(name: str, key: FileKey, value: Any) -> None:
    """Adds a line to the cache file `name`, in one append, so that writers may work beside each other."""
    path = cache_folder() / name
    # A line torn by an earlier writer has no end: the leading newline keeps this one apart from it.
    line = "\n" + json.dumps({"key": key, "value": value}) + "\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            if os.fstat(handle).st_size > LONGEST_BYTES:
                os.truncate(handle, 0)
            os.write(handle, line.encode())
        finally:
            os.close(handle)
    except OSError:
        return


def _lines(path: Path) -> list[bytes]:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            facts = os.fstat(file.fileno())
            if facts.st_uid != os.getuid() or facts.st_mode & 0o022:
                return []  # somebody else could have written what it says
            return file.read(2 * LONGEST_BYTES).split(b"\n")
    except OSError:
        return []
