"""What a training computed at every step, as text: two runs are equal when not one digit differs. Pure.

Takes the text of a metrics.jsonl, hands on step → the values that do not depend on clock and machine. The
surprise: a resumed run drops the lines that it computes again, so whoever wants to compare those too must
have read the file before; `Seen` collects every value there ever was.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Values = tuple[str, ...]
"""NAME=DIGITS of one step, as they stand in the file."""


def read_values(text: str) -> dict[int, Values]:
    """Step → its losses, gradient norm and learning rate; a line cut off in mid-write is left out."""
    found = {}
    for line in text.splitlines(keepends=True):
        try:
            tree = json.loads(line if line.endswith("\n") else "", parse_float=str)
        except ValueError:
            continue
        keep = [name for name in tree if name.startswith("loss") or name in ("grad_norm", "lr")]
        found[int(tree["step"])] = tuple(f"{name}={tree[name]}" for name in sorted(keep))
    return found


@dataclass
class Seen:
    """Every value that was ever seen of a training, replayed steps included."""

    values: dict[int, set[Values]] = field(default_factory=dict)

    def add(self, text: str) -> None:
        """Takes in a metrics.jsonl as it stands now."""
        for step, values in read_values(text).items():
            self.values.setdefault(step, set()).add(values)

    @property
    def last(self) -> int:
        """The highest step seen."""
        return max(self.values, default=0)


def differences(seen: Seen, reference: Mapping[int, Values]) -> list[str]:
    """What differs from the undisturbed run, one line a step; steps that only one of them has, too."""
    lines = []
    for step in sorted({*seen.values, *reference}):
        got, wanted = seen.values.get(step, set()), reference.get(step)
        if wanted is None or not got:
            lines.append(f"step {step} is in {'the drill' if got else 'the undisturbed run'} only")
        elif got != {wanted}:
            lines.append(f"step {step}: {_first(got, wanted)}")
    return lines


def _first(got: Iterable[Values], wanted: Values) -> str:
    other = next(values for values in got if values != wanted)
    pairs = [(left, right) for left, right in zip(other, wanted, strict=False) if left != right]
    return f"{pairs[0][0]}, undisturbed {pairs[0][1]}" if pairs else "other values"
