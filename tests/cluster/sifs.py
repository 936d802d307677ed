"""Small SIF files, written as the format's description has them, for tests of what reads them."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_sif(
    path: Path,
    labels: Mapping[str, str] | None,
    *,
    architecture: bytes = b"02\0",
    before: Sequence[bytes] = (),
) -> Path:
    """A SIF with `before` as JSON objects, the labels as another (None: none), and a small file system."""
    objects = [(0x4006, data) for data in before]
    if labels is not None:
        told = {"data": {"attributes": {"labels": dict(labels)}}, "type": "container"}
        objects.append((0x4006, json.dumps(told).encode()))
    objects.append((0x4004, b"squash" + b"\0" * 58))
    place = 4096
    start = place + 585 * (len(objects) + 1)
    table, data = b"", b""
    for number, (kind, content) in enumerate(objects, 1):
        head = struct.pack("<i?III", kind, True, number, 1, 0)
        where = struct.pack("<7q", start + len(data), len(content), len(content), 0, 0, 0, 0)
        table += head + where + bytes(128 + 384)
        data += content
    table += bytes(585)  # one that is not used
    header = b"#!/usr/bin/env run-singularity\n\0" + b"SIF_MAGIC\0" + b"01\0" + architecture + bytes(16)
    header += struct.pack("<8q", 0, 0, 1, len(objects) + 1, place, len(table), start, len(data))
    path.write_bytes(header + bytes(place - len(header)) + table + data)
    return path
