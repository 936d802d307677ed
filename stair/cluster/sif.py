"""A SIF file's own table of contents, read without Apptainer.

Takes a path, hands on the architecture and the labels, in a millisecond. The surprise: the labels stand
twice in an image, in its file system and as JSON beside it; the latter needs no mount and no root.

Layout: https://github.com/apptainer/sif, pkg/sif/sif.go: a global header of 128 bytes, then descriptors of
585 bytes each, little endian without padding, then the data objects.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, BinaryIO

from stair.frozen import frozen

HEADER = struct.Struct("<32s10s3s3s16sqqqqqqqq")
"""Launch line, magic, version, architecture, UUID, created, modified, then free, total and place of the
descriptors with their size, and place and size of the data."""
DESCRIPTOR = struct.Struct("<i?IIIqqqqqqq128s384s")
"""Kind, used, id, group, link, offset, size, padded size, created, modified, user, group, name, extra."""
PARTITION, GENERIC_JSON = 0x4004, 0x4006
MOST_DESCRIPTORS = 1024
LONGEST_JSON = 4 << 20
ARCHITECTURES = {b"01": "386", b"02": "amd64", b"03": "arm", b"04": "arm64", b"06": "ppc64le", b"11": "s390x"}


class NotASif(Exception):
    """The file does not begin as a SIF does, or its table of contents makes no sense."""


class Truncated(Exception):
    """The table of contents names bytes that the file does not have."""


@frozen
class Sif:
    """What the table of contents says."""

    architecture: str
    """As Go names it, such as amd64; empty when it is not known."""
    labels: dict[str, str] | None
    """None when the file carries none beside its file system (Singularity before 3.6, `sif new`)."""


def read_sif(path: Path) -> Sif:
    """Reads the table of contents. Raises NotASif, Truncated, or OSError."""
    with path.open("rb") as file:
        start = file.read(HEADER.size)
        if len(start) < 42 or start[32:42] != b"SIF_MAGIC\0":
            raise NotASif(f"it begins with {start[:12]!r}")
        size = file.seek(0, 2)
        if len(start) < HEADER.size:
            raise Truncated(f"it has {size} bytes, less than a header")
        fields = HEADER.unpack(start)
        architecture, total, place = fields[3], fields[8], fields[9]
        if not 0 < total <= MOST_DESCRIPTORS or place < HEADER.size:
            raise NotASif("its table of contents makes no sense")
        if place + total * DESCRIPTOR.size > size:
            raise Truncated(f"its table of contents ends behind its {size:,} bytes")
        file.seek(place)
        objects = [row for row in DESCRIPTOR.iter_unpack(file.read(total * DESCRIPTOR.size)) if row[1]]
        if not any(row[0] == PARTITION for row in objects):
            raise NotASif("it holds no file system")
        if any(row[5] < 0 or row[6] < 0 for row in objects):
            raise NotASif("its table of contents makes no sense")
        end = max(row[5] + row[6] for row in objects)
        if end > size:
            raise Truncated(f"it has {size:,} bytes of {end:,}")
        return Sif(ARCHITECTURES.get(architecture[:2], ""), _labels(file, objects))


def _labels(file: BinaryIO, objects: list[tuple[Any, ...]]) -> dict[str, str] | None:
    for row in objects:
        if row[0] != GENERIC_JSON or row[6] > LONGEST_JSON:
            continue
        file.seek(row[5])
        try:
            found = json.loads(file.read(row[6]))["data"]["attributes"]["labels"]
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        if isinstance(found, dict):
            return {str(name): str(value) for name, value in found.items()}
    return None
