"""TFRecord files: payloads in a frame of lengths and checksums.

Takes bytes and a path, hands on records with their place in the file. A frame is a little-endian u64
length, its masked CRC-32C, the payload, its masked CRC-32C. The surprise: a payload with a wrong checksum
can be stepped over, but after a broken *length* nothing says where the next record begins, so the rest of
that file is lost with it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from stair.errors import StairError

HEADER = struct.Struct("<QI")
FOOTER = struct.Struct("<I")
FRAME_BYTES = HEADER.size + FOOTER.size
GO_ON = "data.skip_corrupt true to go on without it, or fetch the file again"


@dataclass(frozen=True)
class Record:
    """One payload and where it lies."""

    payload: bytes
    number: int
    """Counted from 0 within the file."""
    offset: int
    """Of the payload's first byte within the file."""


class CorruptRecord(StairError):
    """A broken frame or payload; names file, record number and byte offset."""

    def __init__(self, path: Path, number: int, offset: int, why: str) -> None:
        super().__init__(f"{path}: record {number} at byte {offset}: {why}", hint=GO_ON)


def masked_crc(data: bytes) -> int:
    """The CRC-32C of `data`, rotated and shifted as TFRecord stores it."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def frame(payload: bytes) -> bytes:
    """A payload in its frame, as it stands in the file."""
    length = struct.pack("<Q", len(payload))
    return b"".join((length, FOOTER.pack(masked_crc(length)), payload, FOOTER.pack(masked_crc(payload))))


def read_records(
    path: Path, *, on_corrupt: Callable[[CorruptRecord], None] | None = None
) -> Iterator[Record]:
    """Yields every record of the file, checksums verified.

    A broken or cut record raises CorruptRecord, or goes to `on_corrupt` and is left out. Raises
    StairError when the file cannot be read at all.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            yield from _read(path, file, size, on_corrupt)
    except OSError as error:
        raise StairError(
            f"cannot read {path}: {error.strerror or error}", hint="is the data set complete?"
        ) from None


def _read(
    path: Path, file, size: int, on_corrupt: Callable[[CorruptRecord], None] | None
) -> Iterator[Record]:
    start, number = 0, 0
    while start < size:
        broken, rest_lost, payload = "", True, b""
        head = file.read(HEADER.size)
        if len(head) < HEADER.size:
            broken = "the file ends within the length"
        else:
            length, length_crc = HEADER.unpack(head)
            if masked_crc(head[:8]) != length_crc:
                broken = "the checksum of its length is wrong"
            elif start + FRAME_BYTES + length > size:
                missing = start + FRAME_BYTES + length - size
                broken = f"the file ends {missing} bytes before the record does"
            else:
                rest_lost = False
                payload = file.read(length)
                if masked_crc(payload) != FOOTER.unpack(file.read(FOOTER.size))[0]:
                    broken = "the checksum of its payload is wrong"
        if broken:
            corrupt = CorruptRecord(path, number, start, broken)
            if on_corrupt is None:
                raise corrupt
            on_corrupt(corrupt)
            if rest_lost:
                return
        else:
            yield Record(payload, number, start + HEADER.size)
        start += FRAME_BYTES + len(payload)
        number += 1
