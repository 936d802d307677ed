"""Episodes become a success rate with an interval, and rates become a mean; standard library only.

Takes what happened per layout, hands on a Rate. The surprise: repeats of one layout are no independent
episodes. They are averaged first, so that every layout counts alike, and the interval is that of as many
independent episodes as the spread between the layouts is worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import variance

from stair.evaluate.numbers.intervals import mean_interval, wilson_of_rate


@dataclass(frozen=True)
class Rate:
    """A share of one, and how sure it is."""

    value: float
    interval: tuple[float, float]
    """95 %"""
    hits: int
    trials: int

    @property
    def known(self) -> bool:
        """False where nothing has been counted; value and interval say nothing then."""
        return self.trials > 0


def rate_of(layouts: Iterable[Sequence[bool]]) -> Rate:
    """The rate over layouts, each given as what its repeats came to.

    Wilson's interval with an effective number of episodes (Franco, Little, Louis and Slud 2019, Journal
    of Survey Statistics and Methodology 7, 334-364): v = value (1 - value) / (variance of the mean of
    the layouts' means), kept between the number of layouts and that of episodes. Without repeats it is
    the number of episodes, and the interval is the plain one.
    """
    seen = [outcomes for outcomes in layouts if outcomes]
    hits, trials = sum(map(sum, seen)), sum(map(len, seen))
    if not seen:
        return Rate(0.0, (0.0, 1.0), 0, 0)
    means = [sum(outcomes) / len(outcomes) for outcomes in seen]
    # Sums of ones and zeros are exact, a mean of thirds is not: 3/3 in every layout has to be 1.
    value = hits / trials if len({len(o) for o in seen}) == 1 else sum(means) / len(means)
    return Rate(value, wilson_of_rate(value, _effective(value, means, trials)), hits, trials)


def over_looks(looks: Sequence[Rate], layouts: Iterable[Sequence[bool]]) -> Rate:
    """The mean over a task's looks, each counting alike. All looks have the same layouts, so the interval
    is that of `rate_of`, with the looks of a layout as its repeats."""
    mean, spread = mean_of(looks), [list(outcomes) for outcomes in layouts if outcomes]
    if not mean.known:
        return mean
    effective = _effective(mean.value, [sum(o) / len(o) for o in spread], mean.trials)
    return Rate(mean.value, wilson_of_rate(mean.value, effective), mean.hits, mean.trials)


def mean_of(rates: Iterable[Rate]) -> Rate:
    """Their mean, each counting alike whatever its number of episodes; those of nothing are left out."""
    known = [rate for rate in rates if rate.known]
    if not known:
        return rate_of([])
    values = [rate.value for rate in known]
    interval = mean_interval(values, [rate.interval for rate in known])
    return Rate(
        sum(values) / len(values),
        known[0].interval if len(known) == 1 else interval,
        sum(rate.hits for rate in known),
        sum(rate.trials for rate in known),
    )


def _effective(value: float, means: Sequence[float], trials: int) -> float:
    """How many independent episodes the layouts are worth."""
    count = len(means)
    if trials == count:
        return trials
    if count < 2 or not 0 < value < 1:
        return count  # nothing tells how alike the repeats are: as if they were copies
    spread = variance(means) / count
    return min(trials, max(count, value * (1 - value) / spread)) if spread else trials
