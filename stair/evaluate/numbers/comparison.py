"""Whether one policy is better than another on the very same grid points; plain Python.

Takes the records of two runs, hands on a Comparison per task: the difference of their success rates with an
interval. Points that only one run has finished are left out and counted. The surprises: pairing is what makes
a small difference visible at all, since most of the spread between episodes comes from their layouts; and
several pairs of one layout (looks, seeds) are worth less than as many layouts, which widens the interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from stair.errors import StairError
from stair.evaluate.episodes import EpisodeRecord
from stair.evaluate.numbers.intervals import Z95, wilson
from stair.evaluate.numbers.suites import IN_WORDS, LAST_SETTING, setting_of
from stair.evaluate.report.reading import Evaluation

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
    alike: float = 1.0
    """Design effect, at least 1: how many pairs of the same layout are worth one of a layout of its own."""

    @property
    def points(self) -> int:
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def difference(self) -> float:
        """Success rate of the first minus that of the second, in [-1, 1]."""
        return (self.only_first - self.only_second) / self.points if self.points else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the difference: `paired_interval`, widened by the root of the design effect
        (Kish 1965, Survey Sampling)."""
        low, high = paired_interval(self.both, self.only_first, self.only_second, self.neither)
        middle, wider = self.difference, math.sqrt(self.alike)
        return max(-1.0, middle - wider * (middle - low)), min(1.0, middle + wider * (high - middle))

    @property
    def p_value(self) -> float:
        """Of the exact sign test on the points where only one succeeded (McNemar 1947), two-sided, their
        counts divided by the design effect."""
        differing = math.floor((self.only_first + self.only_second) / self.alike)
        fewer = min(differing, math.ceil(min(self.only_first, self.only_second) / self.alike))
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
    """One task, by both ways to count success."""

    name: str
    last: Paired
    """The task's condition at the last step."""
    ever: Paired
    """At any step."""


def compare_reports(first: Sequence[Evaluation], second: Sequence[Evaluation]) -> list[Comparison]:
    """The evaluation of one run with that of another; where a run has several, those of one name.

    Raises StairError when none belong together or when they have no task in common.
    """
    single = len(first) == len(second) == 1
    if single:
        pairs = [(first[0], second[0])]
    else:
        pairs = [(one, other) for one in first for other in second if one.name == other.name]
    if not pairs:
        names = [", ".join(one.name or "(itself)" for one in side) for side in (first, second)]
        raise StairError(
            f"no evaluation here has one of its name there: {names[0]} and {names[1]}",
            hint="compare the folders of two evaluations",
        )
    found = [
        comparison if single else replace(comparison, name=f"{one.name}: {comparison.name}")
        for one, other in pairs
        for comparison in compare(one.records, other.records)
    ]
    if not found:
        raise StairError("the two runs have no task in common", hint="compare the same tasks")
    return found


def compare(first: Sequence[EpisodeRecord], second: Sequence[EpisodeRecord]) -> list[Comparison]:
    """Every task that both runs have, the looks of one setting together, visual matching first; with
    several tasks all points together last."""
    left, right = _by_task(first), _by_task(second)
    common = [name for name in sorted(left, key=lambda name: IN_WORDS[LAST_SETTING] in name) if name in right]
    found = [_comparison(name, left[name], right[name]) for name in common]
    if len(common) > 1:
        together = ([r for name in common for r in side[name]] for side in (left, right))
        found.append(_comparison("all tasks", *together))
    return found


def _comparison(name: str, first: list[EpisodeRecord], second: list[EpisodeRecord]) -> Comparison:
    return Comparison(name, pair(first, second, "success"), pair(first, second, "success_ever"))


def _by_task(records: Sequence[EpisodeRecord]) -> dict[str, list[EpisodeRecord]]:
    groups: dict[str, list[EpisodeRecord]] = {}
    for record in records:
        setting = setting_of(record.task, record.variant)
        told = IN_WORDS[setting] if setting and record.variant else record.variant
        groups.setdefault(f"{record.task} ({told})" if told else record.task, []).append(record)
    return groups


def pair(
    first: Iterable[EpisodeRecord], second: Iterable[EpisodeRecord], measure: Measure = "success"
) -> Paired:
    """The records of two runs by grid point; those that ended in an error are unpaired. Repeats of a
    point are paired in the order of their seeds."""
    left, right = _outcomes(first, measure), _outcomes(second, measure)
    common: dict[tuple[str, int], list[tuple[bool, bool]]] = {}
    for key in left:
        if key in right:
            layout = key[0], key[1]  # looks of one layout are alike too
            common.setdefault(layout, []).extend(zip(left[key], right[key], strict=False))
    pairs = [one for several in common.values() for one in several]
    ended = sum(len(seen) for side in (left, right) for seen in side.values())
    return Paired(
        both=pairs.count((True, True)),
        only_first=pairs.count((True, False)),
        only_second=pairs.count((False, True)),
        neither=pairs.count((False, False)),
        unpaired=ended - 2 * len(pairs),
        alike=design_effect([[a - b for a, b in several] for several in common.values()]),
    )


def _outcomes(records: Iterable[EpisodeRecord], measure: Measure) -> dict[tuple[str, int, str], list[bool]]:
    """By task, layout and variant; repeats by seed."""
    found: dict[tuple[str, int, str], list[bool]] = {}
    for record in sorted(records, key=lambda record: record.seed):
        if not record.error:
            held = bool(getattr(record, measure))
            found.setdefault((record.task, record.episode_id, record.variant), []).append(held)
    return found


def design_effect(layouts: Sequence[Sequence[float]]) -> float:
    """By how much the variance of the mean of all values is larger than if those of one layout had nothing
    in common, at least 1: that of sums over layouts against that of single values (the linearised estimate
    for clusters, as Obuchowski 1998, Statistics in Medicine 17, 1495-1507, has it for paired shares)."""
    values = [value for layout in layouts for value in layout]
    if len(layouts) < 2 or len(layouts) == len(values):
        return 1.0
    mean = sum(values) / len(values)
    single = sum((value - mean) ** 2 for value in values)
    summed = sum(sum(value - mean for value in layout) ** 2 for layout in layouts)
    return max(1.0, summed / single * len(layouts) / (len(layouts) - 1)) if single else 1.0


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
