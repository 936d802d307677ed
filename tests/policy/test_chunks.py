"""Chunks become actions as published: held against the formula written out step by step."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stair.policy.chunks import AdaptiveEnsemble, BinaryGripper, ChunkPlayer, StickyGripper


def by_hand(chunks, step, horizon, alpha):
    """The ensemble of upstream.md §2.6, as a loop over everything ever predicted."""
    predictions = [chunks[made][step - made] for made in range(max(0, step - horizon + 1), step + 1)]
    newest = predictions[-1]
    weights = []
    for one in predictions:
        norms = math.sqrt(sum(a * a for a in one)) * math.sqrt(sum(a * a for a in newest))
        weights.append(
            math.exp(alpha * sum(a * b for a, b in zip(one, newest, strict=True)) / (norms + 1e-7))
        )
    total = sum(weights)
    return [
        sum(w * one[dim] for w, one in zip(weights, predictions, strict=True)) / total for dim in range(7)
    ]


@given(st.integers(1, 9), st.sampled_from([0.0, 0.1, 2.0]), st.integers(0, 1000))
def test_the_ensemble_equals_the_formula_at_every_step(horizon, alpha, seed):
    chunks = np.random.default_rng(seed).normal(size=(12, 16, 7))
    ensemble = AdaptiveEnsemble(horizon, alpha)
    for step in range(12):
        assert ensemble.needs_query()
        ensemble.add(chunks[step])
        assert not ensemble.needs_query()
        assert ensemble.next_action() == pytest.approx(by_hand(chunks, step, horizon, alpha), abs=1e-9)


def test_a_larger_alpha_moves_the_action_towards_the_newest_prediction():
    old, new = np.tile([-1.0, 0, 0, 0, 0, 0, 0], (16, 1)), np.tile([1.0, 0, 0, 0, 0, 0, 0], (16, 1))
    first = []
    for alpha in (0.0, 0.1, 5.0):
        ensemble = AdaptiveEnsemble(2, alpha)
        ensemble.add(old)
        ensemble.next_action()
        ensemble.add(new)
        first.append(ensemble.next_action()[0])
    assert first[0] == pytest.approx(0)
    assert 0 < first[1] < first[2] < 1


def test_chunks_shorter_than_the_horizon_fall_silent_when_they_end():
    ensemble = AdaptiveEnsemble(7, 0.1)
    for value in range(6):
        ensemble.add(np.full((2, 7), float(value)))
        action = ensemble.next_action()
    assert 4 < action[0] < 5  # of the last two chunks alone


def test_the_ensemble_forgets_at_reset():
    ensemble = AdaptiveEnsemble(7, 0.1)
    ensemble.add(np.ones((16, 7)))
    ensemble.next_action()
    ensemble.reset()
    ensemble.add(np.full((16, 7), 5.0))
    assert ensemble.next_action() == pytest.approx([5.0] * 7)


def test_an_ensemble_that_was_not_fed_says_so():
    ensemble = AdaptiveEnsemble(7)
    ensemble.add(np.ones((16, 7)))
    ensemble.next_action()
    with pytest.raises(RuntimeError, match="not added"):
        ensemble.next_action()


def test_the_player_runs_part_of_a_chunk_and_asks_again():
    player, asked, played = ChunkPlayer(3), 0, []
    for _ in range(7):
        if player.needs_query():
            player.add(np.arange(16)[:, None] + np.zeros(7) + 100 * asked)
            asked += 1
        played.append(player.next_action()[0])
    assert played == [0, 1, 2, 100, 101, 102, 200]
    player.reset()
    assert player.needs_query()


def test_the_binary_gripper_opens_above_one_half_only():
    gripper = BinaryGripper()
    assert [gripper(opening) for opening in (0.0, 0.5, 0.51, 1.3)] == [0.0, 0.0, 1.0, 1.0]


def test_the_sticky_gripper_repeats_a_change_and_then_listens_again():
    gripper = StickyGripper(3)
    openings = [1.0, 0.9, 0.2, 1.0, 1.0, 0.2, 0.9, 0.9, 0.9]
    # First step 0; 0.9 is no change; 0.2 closes and sticks for three calls whatever comes; then 0.2 is
    # where the opening last changed, so 0.2 gives 0 and 0.9 opens.
    assert [gripper(o) for o in openings] == pytest.approx([0, 0.1, 0.8, 0.8, 0.8, 0, -0.7, -0.7, -0.7])
    gripper.reset()
    assert gripper(0.3) == 0


def test_a_slow_change_still_reaches_the_sticky_gripper():
    # SimplerEnv's original moved the reference at every step, so that a slow closing never counted.
    gripper = StickyGripper(10)
    commands = [gripper(opening) for opening in (1.0, 0.8, 0.6, 0.4, 0.2)]
    assert commands[3] == pytest.approx(0.6)
    assert commands[4] == pytest.approx(0.6)
