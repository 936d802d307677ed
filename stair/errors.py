"""What may go wrong for reasons outside our code, said in two lines.

Expected failures are `StairError`: what happened, and what to try. Commands print them without a
traceback and leave with their exit code; a traceback therefore always means a bug of ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

FINE, FAILED, WRONG_USE, COULD_NOT_CHECK = 0, 1, 2, 3
"""The exit codes of every command: fine, findings or failure, wrong use, could not check."""


class StairError(Exception):
    """An expected failure: `what` happened, and in `hint` what to try."""

    exit_code = FAILED

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what}\n  try: {self.hint}" if self.hint else self.what


class UsageError(StairError):
    """The request itself cannot be meant as it stands: an unknown name, a value out of range."""

    exit_code = WRONG_USE


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Builds the error for a name nobody knows: the nearest known one, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names)}"
    return UsageError(f"unknown {kind} '{name}'", hint=hint)
