"""Visits in a file: written whole, read back with a clear word about what is wrong with it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stair.doctor.visit import SCHEMA, Visit, from_json, to_json
from stair.errors import StairError, UsageError


def write_capture(file: Path, visits: Sequence[Any]) -> None:
    """Writes visits (as JSON) whole or not at all. Raises StairError where the file cannot be written."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        part.write_text(json.dumps({"stair_doctor": SCHEMA, "visits": list(visits)}, indent=1) + "\n")
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StairError(
            f"{file} cannot be written: {error.strerror}", hint="--capture FILE elsewhere"
        ) from None


def read_captures(files: Sequence[Path]) -> tuple[Visit, ...]:
    """The visits of one or many files, in their order.

    Raises UsageError for a file that is missing, no capture, or of a newer version.
    """
    return tuple(visit for file in files for visit in _read(file))


def _read(file: Path) -> list[Visit]:
    try:
        found = json.loads(file.read_text())
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror}", hint="--capture makes such a file"
        ) from None
    except ValueError as error:
        raise UsageError(f"{file} is no JSON: {error}", hint="--capture makes such a file") from None
    if isinstance(found, dict) and isinstance(found.get("visits"), list):
        from_json({**found, "name": ""}, str(file))  # is it one of ours, and not newer than we are?
        return [from_json(each, str(file)) for each in found["visits"]]
    return [from_json(found, str(file))]


def plain(visits: Sequence[Visit]) -> list[dict[str, Any]]:
    """Visits as they go into a capture, a report and --json."""
    return [to_json(visit) for visit in visits]
