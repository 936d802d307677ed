"""Whether simulated success rates rank policies as a real robot does: MMRV and Pearson; plain Python.

Both take one success rate per policy and task in [0, 1], simulated first and real second, in the same
order of policies. Definitions of SIMPLER (Li et al. 2024, arXiv 2405.05941, section V and appendix), as its
published script computes them. The surprise: MMRV is not symmetric, it weighs a wrong order by the *real*
distance; swapping the arguments gives another number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def mmrv(simulated: Sequence[float], real: Sequence[float]) -> float:
    """Mean maximum rank violation, in [0, 1]; 0 when the simulator orders the policies as reality does.

    For every policy i the largest |real_i - real_j| over the policies j where (simulated_i >
    simulated_j) is not (real_i > real_j); then the mean over i. Raises ValueError for lists of
    different or no length.
    """
    pairs = _paired(simulated, real)
    worst = [
        max(abs(real_i - real_j) if (sim_i > sim_j) != (real_i > real_j) else 0.0 for sim_j, real_j in pairs)
        for sim_i, real_i in pairs
    ]
    return sum(worst) / len(worst)


def pearson(simulated: Sequence[float], real: Sequence[float]) -> float:
    """Pearson's correlation in [-1, 1] with 1e-8 added to the denominator, and 1 where both lists are
    equal but for a constant, as SIMPLER's script has it. Raises ValueError as above."""
    pairs = _paired(simulated, real)
    count = len(pairs)
    left, right = ([value - sum(side) / count for value in side] for side in zip(*pairs, strict=True))
    if left == right:
        return 1.0
    product = sum(a * b for a, b in zip(left, right, strict=True))
    return product / (math.sqrt(sum(a * a for a in left) * sum(b * b for b in right)) + 1e-8)


def _paired(simulated: Sequence[float], real: Sequence[float]) -> list[tuple[float, float]]:
    if len(simulated) != len(real) or not simulated:
        raise ValueError(f"{len(simulated)} simulated and {len(real)} real success rates")
    return list(zip(simulated, real, strict=True))
