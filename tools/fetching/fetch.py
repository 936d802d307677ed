"""Artefacts into `pretrained/`: what is missing is fetched, what is there is checked.

Takes listings, hands on the folders that recipes name. `.fetched.json` in each remembers which edition its
files are, so that 30 GB are not hashed again by every call; a file that changed since is hashed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stair.console import say
from stair.rundir import make_folder, write_json
from tools.disk import MB, byte_progress, require_space, size_text
from tools.fetching.hub import Listing, RemoteFile
from tools.fetching.transfer import fetch_file, is_whole, remaining

RECORD = ".fetched.json"


@dataclass(frozen=True)
class Work:
    """What one artefact still needs."""

    listing: Listing
    folder: Path
    missing: tuple[RemoteFile, ...]
    there: tuple[RemoteFile, ...]

    @property
    def bytes_left(self) -> int:
        return sum(remaining(self.folder, file) for file in self.missing)


def plan_work(listing: Listing, into: Path, *, verify: bool = False) -> Work:
    """Which files are whole already; those not on record, or all with `verify`, are hashed."""
    folder = into / listing.artefact.folder
    record = read_record(folder)
    there, missing = [], []
    for file in listing.files:
        path = folder / file.place
        known = not verify and path.is_file() and record.get(file.place) == _entry(path, file)
        (there if known or _checked(path, file) else missing).append(file)
    return Work(listing, folder, tuple(missing), tuple(there))


def carry_out(works: list[Work]) -> None:
    """Fetches what is missing, after one look at the disk. Raises StairError; what has arrived is kept."""
    left = sum(work.bytes_left for work in works)
    if works and left:
        require_space(works[0].folder, left + left // 100)
    for work in works:
        make_folder(work.folder)
        for file in work.missing:
            done = file.size - remaining(work.folder, file)
            told = byte_progress(f"{work.listing.artefact.name} {file.place}", file.size, done=done)
            fetch_file(work.listing, file, work.folder, told)
            write_record(work, (*work.there, *work.missing))
        write_record(work, (*work.there, *work.missing))
        count = len(work.missing)
        say(f"{work.listing.artefact.name}: {count} fetched, {len(work.there)} were there: {work.folder}")


def read_record(folder: Path) -> dict[str, Any]:
    """The files on record by place; empty where there is no record or it is damaged."""
    try:
        return dict(json.loads((folder / RECORD).read_text())["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def write_record(work: Work, files: tuple[RemoteFile, ...]) -> None:
    """Remembers the edition of every file that is there."""
    entries = {file.place: _entry(work.folder / file.place, file) for file in files}
    write_json(
        work.folder / RECORD,
        {
            "repository": work.listing.artefact.repository,
            "revision": work.listing.revision,
            "files": {place: entry for place, entry in entries.items() if entry},
        },
    )


def _entry(path: Path, file: RemoteFile) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    status = path.stat()
    return {"size": status.st_size, "modified_ns": status.st_mtime_ns, "hash": file.mark}


def _checked(path: Path, file: RemoteFile) -> bool:
    """Hashes a file that nobody remembers, aloud when it takes a while."""
    if path.is_file() and path.stat().st_size == file.size > 100 * MB:
        say(f"checking {path} ({size_text(file.size)})")
    return is_whole(path, file)
