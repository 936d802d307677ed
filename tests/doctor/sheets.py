"""Fault sheets: what a probe saw on a place with one fault, and which first cause is to be found.

Reads sheets/NAME.json, hands on a FaultSheet with whole visits. The surprise: a sheet holds only the
sections in which it differs from a base in sheets/bases/, so that the fault can be read in the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stair.doctor.visit import Visit

FOLDER = Path(__file__).parent / "sheets"
MOVING = ("time", "clock", "took_s", "host")
"""What differs between two probes of one healthy machine."""


@dataclass(frozen=True)
class FaultSheet:
    """Visits, and the diagnosis they ask for."""

    name: str
    expect: str
    """Id of the first cause; empty: healthy."""
    level: str
    made: str
    """`real`, `recorded` or `by hand`."""
    how: str
    visits: tuple[Visit, ...]


def names() -> list[str]:
    """Every fault sheet."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def bases() -> list[str]:
    """Every whole sheet that others are measured against."""
    return sorted(path.stem for path in (FOLDER / "bases").glob("*.json"))


def base(name: str) -> dict[str, Any]:
    """A whole sheet, for the caller to change."""
    return json.loads(_text(FOLDER / "bases" / f"{name}.json"))


def read(name: str) -> FaultSheet:
    """A fault sheet with its visits made whole."""
    found = json.loads(_text(FOLDER / f"{name}.json"))
    visits = tuple(
        Visit(
            name=visit.get("name", ""),
            role=visit.get("role", "here"),
            host=_side(visit, "host", visit.get("base", found.get("base"))),
            image=_side(visit, "image", visit.get("image_base", found.get("image_base"))),
            image_file=visit.get("image_file"),
            request=visit.get("request"),
        )
        for visit in found["visits"]
    )
    return FaultSheet(name, found["expect"], found["level"], found["made"], found["how"], visits)


def merge(sections: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, Any]:
    """The whole sheet with some of its sections replaced."""
    return {**whole, **sections}


def shorten(sheet: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, Any]:
    """The sections in which a sheet differs from its base: what a file in sheets/ holds."""
    return {name: value for name, value in sheet.items() if name not in MOVING and value != whole.get(name)}


def _side(visit: Mapping[str, Any], side: str, whole: str | None) -> dict[str, Any] | None:
    """One side of a visit: as in its base where nothing is said, absent where null or without a base."""
    sections = visit.get(side, {} if whole else None)
    if sections is None:
        return None
    return merge(sections, base(whole) if whole else {})


@cache
def _text(path: Path) -> str:
    return path.read_text()
