"""What a check hands on: what was seen, what it means, and what cures it.

Every finding has an id that can be searched for. Levels: `fine` and `note` need nothing, `warning` may
hurt later, `error` will fail, `unknown` could not be checked. Only errors make the command fail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stair.errors import COULD_NOT_CHECK, FAILED, FINE

Level = Literal["fine", "note", "warning", "error", "unknown"]
Facts = Mapping[str, Any]
"""What probe.py prints: plain values, one key per subject."""


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis."""

    id: str
    level: Level
    seen: str
    means: str = ""
    cure: str = ""


def exit_code(findings: Sequence[Finding]) -> int:
    """0 fine, 1 at least one error, 3 no error but something could not be checked."""
    levels = {finding.level for finding in findings}
    if "error" in levels:
        return FAILED
    return COULD_NOT_CHECK if "unknown" in levels else FINE
