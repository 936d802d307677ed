"""One file from the Hub onto the disk, whole and as stated, or not at all.

Takes a RemoteFile and a folder; hands on the file at its place. Bytes arrive in a `.part` beside it, which a
later call goes on with: huggingface_hub's own download begins anew after a kill and compares sizes only.
Its hash is compared before the file gets its name.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stair.errors import StairError
from stair.rundir import make_folder
from tools.fetching.artefacts import Artefact
from tools.fetching.hub import Listing, RemoteFile, endpoint, explain, load_library

ATTEMPTS = 3
"""Attempts in a row without a single new byte before giving up."""
PAUSE_S = 0.5
"""Before the next attempt; doubled by every one that brings nothing."""
CHUNK = 1 << 24
Told = Callable[[int], None]


class WrongHash(StairError):
    """What arrived is not what the Hub states."""


def part_file(folder: Path, file: RemoteFile) -> Path:
    """Where a file's bytes wait until it is whole; named by its hash, so that editions do not mix."""
    final = folder / file.place
    return final.with_name(f".{final.name}.{file.mark[:12]}.part")


def remaining(folder: Path, file: RemoteFile) -> int:
    """How many bytes of a file that is not there are still to be fetched."""
    part = part_file(folder, file)
    return file.size - (part.stat().st_size if part.exists() else 0)


def fetch_file(listing: Listing, file: RemoteFile, folder: Path, told: Told = lambda done: None) -> None:
    """Brings one file. `told` hears how many of its bytes are there.

    Raises StairError when the Hub or the disk refuses; what has arrived is kept. A wrong hash is tried once
    more from the beginning.
    """
    for last in (False, True):
        try:
            _transfer(listing, file, folder, told)
            return
        except WrongHash:
            part_file(folder, file).unlink(missing_ok=True)
            if last:
                raise


def is_whole(path: Path, file: RemoteFile) -> bool:
    """True when a file on disk has the size and the hash that the Hub states; reads all of it."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    return not file.mark or _digest(path, file) == file.mark


def _transfer(listing: Listing, file: RemoteFile, folder: Path, told: Told) -> None:
    part = part_file(folder, file)
    make_folder(part.parent)
    part.touch()
    stalled = 0
    while (have := part.stat().st_size) < file.size:
        try:
            _append(listing, file, part, told)
        except OSError as error:  # every HTTP client's errors are, or are made so below
            if error.errno is not None:
                raise StairError(
                    f"cannot write {part}: {error.strerror}",
                    hint="make room and start again: it goes on there",
                ) from None
            stalled = stalled + 1 if part.stat().st_size == have else 0
            if stalled >= ATTEMPTS:
                raise explain(error, listing.artefact, folder) from None
            time.sleep(PAUSE_S * 2**stalled)
    if part.stat().st_size > file.size or not is_whole(part, file):
        raise WrongHash(
            f"{file.path} arrived with another hash than {endpoint()} states ({file.mark[:16]}…)",
            hint="a proxy or mirror changes files: try another HF_ENDPOINT",
        )
    with part.open("rb") as opened:
        os.fsync(opened.fileno())
    part.replace(folder / file.place)


def _append(listing: Listing, file: RemoteFile, part: Path, told: Told) -> None:
    """One connection's worth of bytes at the end of `part`."""
    hub = load_library()
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    artefact: Artefact = listing.artefact
    url = hub.hf_hub_url(artefact.repository, file.path, revision=listing.revision, endpoint=endpoint())
    # A compressed answer could not be gone on with in the middle.
    headers: dict[str, Any] = {**build_hf_headers(), "Accept-Encoding": "identity"}
    try:
        location = hub.get_hf_file_metadata(url, headers=headers).location
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", 500)
        if status < 500:
            raise explain(error, artefact, part.parent) from None
        raise OSError(f"{type(error).__name__}: {error}") from error
    if urlsplit(location).netloc not in (urlsplit(url).netloc, "huggingface.co"):
        headers.pop("authorization", None)  # a signed address of the store: no token for it
    try:
        with _Counted(part, told) as opened:
            have = opened.seek(0, io.SEEK_END)
            http_get(location, opened, resume_size=have, headers=headers, expected_size=file.size)  # type: ignore[arg-type]
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK:
            raise
        # Also a signed address that ran out (403): the next attempt asks for a fresh one.
        raise OSError(f"{type(error).__name__}: {error}") from error


_DISK = (5, 13, 27, 28, 30, 122)
"""EIO, EACCES, EFBIG, ENOSPC, EROFS, EDQUOT: the disk's doing, not the network's."""


class _Counted(io.BufferedRandom):
    """A part file that tells how long it is."""

    def __init__(self, path: Path, told: Told) -> None:
        super().__init__(io.FileIO(path, "r+"))  # type: ignore[arg-type]
        self.told = told

    def write(self, data: Any) -> int:
        count = super().write(data)
        self.told(self.tell())
        return count


def _digest(path: Path, file: RemoteFile) -> str:
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(f"blob {file.size}\0".encode())
    with path.open("rb") as opened:
        while chunk := opened.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
