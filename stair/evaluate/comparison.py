"""Whether one policy is better than another on the very same grid points; plain Python.

Takes the records of two runs, hands on a Comparison per task: the difference of their success rates with an
interval. Points that only one run has finished are left out and counted. The surprise: pairing is what makes
a small difference visible at all, since most of the spread between episodes comes from their layouts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from stair.evaluate.episodes import EpisodeRecord
from stair.evaluate.intervals import Z95, wilson

Measure = Literal["success", "success_ever"]


@dataclass(frozen=True)
class Paired:
    """Two policies on the same n points of one task."""

    both: int
    only_first: int
    only_second: int
    neither: int
    unpaired: int = 0
    """Points that only one of the runs has finished."""

    @property
    def points(self) -> int:
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def difference(self) -> float:
        """Success rate of the first minus that of the second, in [-1, 1]."""
        return (self.only_first - self.only_second) / self.points if self.points else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the difference; see `paired_interval`."""
        return paired_interval(self.both, self.only_first, self.only_second, self.neither)

    @property
    def p_value(self) -> float:
        """Of the exact sign test on the points where only one succeeded (McNemar 1947), two-sided."""
        differing, fewer = self.only_first + self.only_second, min(self.only_first, self.only_second)
        tail = sum(math.comb(differing, k) for k in range(fewer + 1)) / 2**differing
        return min(1.0, 2 * tail)

    @property
    def distinguishable(self) -> bool:
        """Whether the interval leaves out zero and the exact test agrees. The interval alone is approximate
        and would call two equal policies different slightly more often than one time in twenty."""
        low, high = self.interval
        return (low > 0 or high < 0) and self.p_value <= 0.05

    def in_words(self) -> str:
        """`+12.5 points (95 % interval +2.1 to +22.0, p = 0.02)`, and whether that says anything."""
        if not self.points:
            return "no grid point in common"
        low, high = self.interval
        text = f"{100 * self.difference:+.1f} points (95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
        text += f", p = {self.p_value:.2g})"
        return text if self.distinguishable else f"{text}: not distinguishable"


def paired_interval(
    both: int, only_first: int, only_second: int, neither: int, z: float = Z95
) -> tuple[float, float]:
    """Interval of a difference of two proportions of the same n points, 95 % unless told.

    Newcombe 1998 (Statistics in Medicine 17, method 10): the Wilson intervals of both rates, joined with
    their correlation over the points, corrected for continuity. No points tell nothing: (-1, 1).
    """
    n = both + only_first + only_second + neither
    if n == 0:
        return -1.0, 1.0
    first, second = both + only_first, both + only_second
    low1, high1 = wilson(first, n, z)
    low2, high2 = wilson(second, n, z)
    p1, p2, phi = first / n, second / n, correlation(both, only_first, only_second, neither)

    def joined(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))

    difference = p1 - p2
    return max(-1.0, difference - joined(p1 - low1, high2 - p2)), min(
        1.0, difference + joined(high1 - p1, p2 - low2)
    )


def correlation(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Phi coefficient of the 2 x 2 table, moved towards zero by n / 2 where it is positive; 0 when a
    margin is empty."""
    n = both + only_first + only_second + neither
    margins = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    if margins == 0:
        return 0.0
    crossed = both * neither - only_first * only_second
    if crossed > 0:
        crossed = max(crossed - n / 2, 0.0)
    return crossed / math.sqrt(margins)


@dataclass(frozen=True)
class Comparison:
    """One task and variant, by both ways to count success."""

    name: str
    last: Paired
    """The task's condition at the last step."""
    ever: Paired
    """At any step."""


def compare(first: Sequence[EpisodeRecord], second: Sequence[EpisodeRecord]) -> list[Comparison]:
    """Every task that both runs have, in the order of the first; with several, all of them together last."""
    left, right = _by_task(first), _by_task(second)
    common = [name for name in left if name in right]
    found = [_comparison(name, left[name], right[name]) for name in common]
    if len(common) > 1:
        joined = ([r for name in common for r in side[name]] for side in (left, right))
        found.append(_comparison("all tasks", *joined))
    return found


def _comparison(name: str, first: list[EpisodeRecord], second: list[EpisodeRecord]) -> Comparison:
    return Comparison(name, pair(first, second, "success"), pair(first, second, "success_ever"))


def _by_task(records: Sequence[EpisodeRecord]) -> dict[str, list[EpisodeRecord]]:
    groups: dict[str, list[EpisodeRecord]] = {}
    for record in records:
        name = f"{record.task} ({record.variant})" if record.variant else record.task
        groups.setdefault(name, []).append(record)
    return groups


def pair(
    first: Iterable[EpisodeRecord], second: Iterable[EpisodeRecord], measure: Measure = "success"
) -> Paired:
    """The records of two runs by grid point; those that ended in an error are unpaired."""
    left = {record.key: bool(getattr(record, measure)) for record in first if not record.error}
    right = {record.key: bool(getattr(record, measure)) for record in second if not record.error}
    common = [(left[key], right[key]) for key in left if key in right]
    return Paired(
        both=common.count((True, True)),
        only_first=common.count((True, False)),
        only_second=common.count((False, True)),
        neither=common.count((False, False)),
        unpaired=len(left) + len(right) - 2 * len(common),
    )


def as_json(comparison: Comparison) -> dict[str, Any]:
    """A comparison as plain values; differences as shares of one."""
    return {
        "task": comparison.name,
        "success": _paired_json(comparison.last),
        "success_ever": _paired_json(comparison.ever),
    }


def _paired_json(paired: Paired) -> dict[str, Any]:
    return {
        **asdict(paired),
        "points": paired.points,
        "difference": paired.difference,
        "interval": list(paired.interval),
        "p_value": paired.p_value,
        "distinguishable": paired.distinguishable,
    }
