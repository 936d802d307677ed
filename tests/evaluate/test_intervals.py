"""Wilson's interval against published values, its own equation, and its promises."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stair.evaluate.intervals import Z95, episodes_for, wilson

counts = st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe 1998, table I, method 3 (score interval without continuity correction).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_values_are_met(successes, trials, low, high):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(counts)
def test_the_bounds_solve_the_score_equation(count):
    successes, trials = count
    rate = successes / trials
    for bound in wilson(successes, trials):
        # (p̂ - p)² = z² p (1 - p) / n, the definition of the interval's ends.
        assert (rate - bound) ** 2 == pytest.approx(Z95**2 * bound * (1 - bound) / trials, abs=1e-9)


@given(counts)
def test_the_interval_holds_the_rate_and_mirrors(count):
    successes, trials = count
    low, high = wilson(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    assert wilson(trials - successes, trials) == pytest.approx((1 - high, 1 - low))


def test_no_trials_tell_nothing_and_impossible_counts_are_refused():
    assert wilson(0, 0) == (0.0, 1.0)
    for successes, trials in ((-1, 3), (4, 3)):
        with pytest.raises(ValueError, match="in"):
            wilson(successes, trials)


def test_more_trials_narrow_it():
    widths = [high - low for low, high in (wilson(n // 2, n) for n in (8, 32, 128, 512))]
    assert widths == sorted(widths, reverse=True)
    assert math.isclose(widths[2] / widths[3], 2, rel_tol=0.05)


def test_the_interval_covers_the_truth_in_95_of_100_draws():
    rng, covered, draws = random.Random(3), 0, 100_000
    known: dict[tuple[int, int], tuple[float, float]] = {}
    for _ in range(draws):
        truth, trials = rng.random(), rng.choice([24, 48, 96, 300])
        count = (rng.binomialvariate if hasattr(rng, "binomialvariate") else _binomial(rng))(trials, truth)
        low, high = known.setdefault((count, trials), wilson(count, trials))
        covered += low <= truth <= high
    assert 0.94 <= covered / draws <= 0.96


def _binomial(rng):
    return lambda n, p: sum(rng.random() < p for _ in range(n))


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.97])
@pytest.mark.parametrize("half_width", [0.01, 0.05, 0.1, 0.3])
def test_the_fewest_episodes_for_a_precision(rate: float, half_width: float):
    needed = episodes_for(half_width, rate)

    def width(trials):
        spread = Z95**2 / trials
        return Z95 * math.sqrt(rate * (1 - rate) / trials + spread / (4 * trials)) / (1 + spread)

    assert width(needed) <= half_width
    assert needed == 1 or width(needed - 1) > half_width
