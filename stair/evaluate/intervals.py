"""How sure a success rate is, and how many episodes make it surer: Wilson score intervals, plain Python."""

from __future__ import annotations

import math

Z95 = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""


def wilson(successes: int, trials: int, z: float = Z95) -> tuple[float, float]:
    """The interval that covers the true rate, 95 % unless told (Wilson 1927).

    Keeps to [0, 1] and stays honest at 0 and at all successes, where the textbook ± collapses to
    nothing. No trials tell nothing: (0, 1). Raises ValueError for counts that cannot be.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials")
    if trials == 0:
        return 0.0, 1.0
    rate, spread = successes / trials, z * z / trials
    centre, half = (rate + spread / 2) / (1 + spread), _half(trials, rate, z)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return low, high


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


def _half(trials: int, rate: float, z: float) -> float:
    """Half the width of the interval of a rate that need not be a whole number of successes."""
    spread = z * z / trials
    return z * math.sqrt(rate * (1 - rate) / trials + spread / (4 * trials)) / (1 + spread)
