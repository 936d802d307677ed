"""What was measured, as those who judge it read it. Pure.

The surprise: a picture that was drawn in an image is a fact about that image, though it stands in the `deep`
of the host's visit; so each side of the container's wall is handed its own, and a driver file that is broken
in the image comes before the picture that it spoils.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stair.doctor.finding import Facts, Finding
from stair.doctor.sheet import failed, rows, section

ENGINES = {"sapien3": "SAPIEN 3", "sapien2": "SAPIEN 2"}


def measured_here(facts: Facts, part: str) -> list[Mapping[str, Any]]:
    """The facts of a part that belong to the side of the wall whose facts these are."""
    found = rows(section(facts, "deep"), part)
    if facts.get("around") is None and facts.get("image_file") is None and "missing" not in facts:
        return found  # no image was looked at: there is one side only
    return [fact for fact in found if bool(fact.get("image")) == _inside(facts)]


def _inside(facts: Facts) -> bool:
    return facts.get("around") is not None or "missing" in facts


def unmeasured(id: str, facts: Facts, part: str, seen: str, cure: str) -> Iterator[Finding]:
    """One finding, on the host, where a part was asked for and could not be measured at all."""
    if _inside(facts):
        return
    why = failed(section(facts, "deep"), part) or (failed(facts, "deep") if part == "draw" else "")
    if why:
        yield Finding(id, "unknown", f"{seen}: {why}", cure=cure)


def device_of(fact: Mapping[str, Any]) -> str:
    """`GPU 3`, or `the CPU`."""
    return "the CPU" if fact.get("gpu") is None else f"GPU {fact['gpu']}"
