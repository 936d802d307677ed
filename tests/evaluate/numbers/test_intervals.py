"""Wilson's interval against published values, its own equation, and its promises; that of a mean."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stair.evaluate.numbers.intervals import Z95, episodes_for, mean_interval, wilson, wilson_of_rate

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


def coverage(trials, truth):
    """The share of outcomes, by their exact chances, whose interval holds the truth."""
    return sum(
        math.comb(trials, k) * truth**k * (1 - truth) ** (trials - k)
        for k in range(trials + 1)
        if (bounds := wilson(k, trials))[0] <= truth <= bounds[1]
    )


def test_the_interval_covers_the_truth_in_94_to_96_of_100_draws():
    """Over 10^5 draws, with true rates spread evenly over [0, 1], as Agresti and Coull 1998 (The American
    Statistician 52, 119-126) judge intervals: counts are whole, so that no interval covers exactly 95 % at
    every rate."""
    rng, draws = np.random.default_rng(3), 100_000
    truths, trials = rng.random(draws), rng.choice([24, 48, 96, 300], draws)
    counts = rng.binomial(trials, truths)
    drawn = zip(truths.tolist(), counts.tolist(), trials.tolist(), strict=True)
    known: dict[tuple[int, int], tuple[float, float]] = {}
    covered = 0
    for truth, count, of in drawn:
        low, high = known.setdefault((count, of), wilson(count, of))
        covered += low <= truth <= high
    assert 0.94 <= covered / draws <= 0.96


@pytest.mark.parametrize("trials", [10, 24, 48, 96])
def test_coverage_averaged_over_rates_is_95_of_100_for_each_number_of_trials(trials):
    rates = [(k + 0.5) / 400 for k in range(400)]
    assert 0.945 <= sum(coverage(trials, rate) for rate in rates) / 400 <= 0.96


@pytest.mark.parametrize(
    ("trials", "least", "most"), [(24, 0.92, 0.98), (48, 0.925, 0.975), (96, 0.93, 0.97), (300, 0.935, 0.965)]
)
def test_coverage_at_a_single_rate_comes_closer_to_95_with_more_trials(trials, least, most):
    """Between 0.1 and 0.9; nearer the ends single rates dip lower, to 0.86 at 24 trials."""
    found = [coverage(trials, rate / 100) for rate in range(10, 91, 4)]
    assert least <= min(found)
    assert max(found) <= most
    assert 0.84 <= min(coverage(24, rate / 1000) for rate in range(1, 1000, 7)) <= 0.90


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.97])
@pytest.mark.parametrize("half_width", [0.01, 0.05, 0.1, 0.3])
def test_the_fewest_episodes_for_a_precision(rate: float, half_width: float):
    needed = episodes_for(half_width, rate)

    def width(trials):
        spread = Z95**2 / trials
        return Z95 * math.sqrt(rate * (1 - rate) / trials + spread / (4 * trials)) / (1 + spread)

    assert width(needed) <= half_width
    assert needed == 1 or width(needed - 1) > half_width


def test_a_rate_of_trials_that_are_no_whole_number_lies_between_its_neighbours():
    widths = [high - low for low, high in (wilson_of_rate(0.5, n) for n in (24, 24.5, 25))]
    assert widths == sorted(widths, reverse=True)
    assert wilson_of_rate(0.25, 48) == pytest.approx(wilson(12, 48))


def test_the_interval_of_a_mean_adds_squares_side_by_side():
    # By hand: below sqrt(0.1² + 0.2²) / 2, above sqrt(0.3² + 0.4²) / 2.
    low, high = mean_interval([0.2, 0.6], [(0.1, 0.5), (0.4, 1.0)])
    assert (low, high) == pytest.approx((0.4 - math.sqrt(0.05) / 2, 0.4 + 0.25))
    assert mean_interval([], []) == (0.0, 1.0)


def test_means_of_means_give_what_one_mean_gives():
    rates, sure = [0.1, 0.4, 0.5, 0.9], [wilson(k, 10) for k in (1, 4, 5, 9)]
    inner = [mean_interval(rates[:2], sure[:2]), mean_interval(rates[2:], sure[2:])]
    assert mean_interval([0.25, 0.7], inner) == pytest.approx(mean_interval(rates, sure))
