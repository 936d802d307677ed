"""How sure a success rate or a mean of them is, and how many episodes make it surer; plain Python.

Takes counts or rates, hands on 95 % intervals: Wilson scores for one rate, their squares added for a mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Z95 = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""


def wilson(successes: int, trials: int, z: float = Z95) -> tuple[float, float]:
    """The interval that covers the true rate, 95 % unless told (Wilson 1927).

    Keeps to [0, 1] and stays honest at 0 and at all successes, where the textbook ± collapses to
    nothing. No trials tell nothing: (0, 1). Raises ValueError for counts that cannot be.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials")
    return wilson_of_rate(successes / trials if trials else 0.0, trials, z)


def wilson_of_rate(rate: float, trials: float, z: float = Z95) -> tuple[float, float]:
    """Wilson's interval of a rate in [0, 1] that was seen in as many independent trials as `trials`
    tells; neither need be a whole number of anything. Zero trials tell nothing: (0, 1)."""
    if trials <= 0:
        return 0.0, 1.0
    spread = z * z / trials
    centre, half = (rate + spread / 2) / (1 + spread), _half(trials, rate, z)
    low = 0.0 if rate == 0 else max(0.0, centre - half)
    high = 1.0 if rate == 1 else min(1.0, centre + half)
    return low, high


def mean_interval(rates: Sequence[float], intervals: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The interval of a mean of independent rates that count alike, out of the intervals of each.

    Zou, Huang and Zhang 2009 (Computational Statistics & Data Analysis 53, 1080-1085: "A note on
    confidence interval estimation for a linear function of binomial proportions"): the distances from
    rate to bound are added as squares, each side for itself, with the weights' squares. The strata stay
    what they are: it tells what new episodes of the same tasks would give, nothing about other tasks.
    Means of means may be built up step by step. Nothing at all tells nothing: (0, 1).
    """
    if not rates:
        return 0.0, 1.0
    count, mean = len(rates), sum(rates) / len(rates)
    bounds = [(rate, low, high) for rate, (low, high) in zip(rates, intervals, strict=True)]
    below = math.sqrt(sum((rate - low) ** 2 for rate, low, _ in bounds)) / count
    above = math.sqrt(sum((high - rate) ** 2 for rate, _, high in bounds)) / count
    return max(0.0, mean - below), min(1.0, mean + above)


def episodes_for(half_width: float, rate: float = 0.5, z: float = Z95) -> int:
    """The fewest episodes whose interval is no wider than `half_width` to either side, at this rate.

    `half_width` in (0, 1), e.g. 0.05 for plus and minus five points. Raises ValueError for others.
    """
    if not 0 < half_width < 1:
        raise ValueError(f"a half-width of {half_width}")
    low, high = 1, 2
    while _half(high, rate, z) > half_width:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _half(middle, rate, z) <= half_width else (middle + 1, high)
    return low


def _half(trials: float, rate: float, z: float) -> float:
    """Half the width of the interval of a rate that need not be a whole number of successes."""
    spread = z * z / trials
    return z * math.sqrt(rate * (1 - rate) / trials + spread / (4 * trials)) / (1 + spread)
