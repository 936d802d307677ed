"""Rates over layouts: repeats count once, and the interval says what they are worth."""

import numpy as np
import pytest

from stair.evaluate.numbers.intervals import wilson
from stair.evaluate.numbers.rates import mean_of, over_looks, rate_of


def test_without_repeats_it_is_the_plain_rate_with_wilsons_interval():
    rate = rate_of([[True], [False], [True], [False]])
    assert (rate.value, rate.hits, rate.trials) == (0.5, 2, 4)
    assert rate.interval == pytest.approx(wilson(2, 4))


def test_a_layout_counts_once_however_often_it_was_played():
    assert rate_of([[True, True, True, True], [False]]).value == 0.5
    assert rate_of([[True] * 3] * 7).value == 1.0


def test_copies_of_a_layout_are_worth_nothing_and_unlike_repeats_are_episodes():
    copies = rate_of([[True] * 3] * 12 + [[False] * 3] * 12)
    # 24 layouts: the spread of their means is estimated with 23 degrees of freedom.
    assert copies.interval == pytest.approx(wilson(12, 24), abs=1e-9)
    unlike = rate_of([[True, False]] * 24)
    assert unlike.interval == pytest.approx(wilson(24, 48))


def test_where_repeats_tell_nothing_they_are_taken_for_copies():
    assert rate_of([[True] * 3] * 24).interval == pytest.approx(wilson(24, 24))
    assert rate_of([[True, False, False]]).interval[1] > 0.8


def test_nothing_counted_is_unknown():
    rate = rate_of([[], []])
    assert not rate.known
    assert rate.interval == (0.0, 1.0)
    assert not mean_of([rate]).known


def test_a_mean_counts_its_parts_alike_and_leaves_out_the_unknown():
    large, small = rate_of([[True]] * 90 + [[False]] * 10), rate_of([[True], [False]])
    mean = mean_of([large, rate_of([]), small])
    assert mean.value == pytest.approx(0.7)
    assert mean.trials == 102
    assert mean_of([small]).interval == small.interval


def test_looks_of_the_same_layouts_are_repeats_of_them():
    looks = [rate_of([[True]] * 6 + [[False]] * 6)] * 4
    layouts = [[True] * 4] * 6 + [[False] * 4] * 6
    assert over_looks(looks, layouts).interval == pytest.approx(wilson(6, 12))
    assert mean_of(looks).interval[0] > over_looks(looks, layouts).interval[0]


def test_the_interval_covers_the_truth_for_layouts_that_are_easy_or_hard():
    rng, covered, pooled, draws = np.random.default_rng(1), 0, 0, 1500
    for _ in range(draws):
        a = rng.choice([0.5, 1.0, 2.0])
        chances = rng.beta(a, a, size=24)  # of 24 layouts, drawn from all there might be; their mean is 0.5
        outcomes = rng.random((24, 3)) < chances[:, None]
        low, high = rate_of(outcomes.tolist()).interval
        covered += low <= 0.5 <= high
        low, high = wilson(int(outcomes.sum()), 72)
        pooled += low <= 0.5 <= high
    assert 0.93 <= covered / draws <= 0.985
    assert pooled / draws < 0.90  # what taking repeats for episodes would claim


@pytest.mark.parametrize("rates", [(0.5,) * 4, (0.1, 0.3, 0.6, 0.9), (0.05, 0.1, 0.2, 0.9)])
def test_the_interval_of_a_mean_of_tasks_covers_the_truth(rates):
    rng, draws, truth = np.random.default_rng(2), 2500, sum(rates) / 4
    counts = rng.binomial(24, rates, size=(draws, 4))
    covered = 0
    for row in counts.tolist():
        low, high = mean_of([rate_of([[True]] * k + [[False]] * (24 - k)) for k in row]).interval
        covered += low <= truth <= high
    assert 0.935 <= covered / draws <= 0.97
