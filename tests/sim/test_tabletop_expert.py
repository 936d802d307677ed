"""The expert gets there: on every layout, under noise, from any state."""

from __future__ import annotations

import numpy as np
import pytest

from stair.sim.tabletop import State, advance, first_state, is_success
from stair.sim.tabletop_expert import SPEED_M, expert_action
from stair.sim.tabletop_layout import WORKSPACE_HIGH, WORKSPACE_LOW, Goal, Layout, draw_start


def play(
    state: State, layout: Layout, goal: Goal, *, noise: float = 0.0, seed: int = 0, steps: int = 60
) -> tuple[list[bool], list[np.ndarray], State]:
    rng = np.random.default_rng(seed)
    successes, actions = [], []
    for _ in range(steps):
        action = expert_action(state, layout, goal)
        actions.append(action)
        executed = action.astype(np.float64)
        executed[:3] += rng.normal(0, noise, size=3)
        state = advance(state, executed, grasp_tolerance=0.032)
        successes.append(is_success(state, layout, goal))
    return successes, actions, state


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_it_succeeds_on_at_least_99_of_100_layouts(noise: float):
    last, first = [], []
    for episode_id in range(100_000, 100_200):
        start = draw_start(episode_id)
        successes, _, _ = play(
            first_state(start.layout), start.layout, start.goal, noise=noise, seed=episode_id
        )
        last.append(successes[-1])
        first.append(successes.index(True) if any(successes) else 60)
    assert np.mean(last) >= 0.99
    assert 12 <= np.median(first) <= 28


def test_it_moves_gently_and_comes_to_rest():
    for episode_id in range(50):
        start = draw_start(episode_id)
        successes, actions, _ = play(first_state(start.layout), start.layout, start.goal)
        moves = np.array(actions)
        assert np.linalg.norm(moves[:, :2], axis=1).max() <= SPEED_M + 1e-6
        assert np.abs(moves[:, 2]).max() <= SPEED_M + 1e-6
        assert not moves[:, 3:6].any()
        done = successes.index(True)
        assert not moves[done + 8 :, :6].any()
        assert (moves[done:, 6] == 1).all()


def test_without_noise_it_opens_and_closes_once():
    for episode_id in range(100):
        start = draw_start(episode_id)
        _, actions, _ = play(first_state(start.layout), start.layout, start.goal)
        gripper = np.array(actions)[:, 6]
        assert np.count_nonzero(np.diff(gripper)) == 2


def test_it_travels_high_enough_to_pass_over_the_other_block():
    for episode_id in range(50):
        start = draw_start(episode_id)
        state = first_state(start.layout)
        for _ in range(40):
            state = advance(state, expert_action(state, start.layout, start.goal).astype(float), 0.032)
            other = start.layout.blocks[1 - start.goal.block]
            if np.abs(state.position[:2] - other).max() < 0.02 + 0.006:
                assert state.position[2] > 0.04


def test_it_succeeds_from_any_state():
    rng = np.random.default_rng(1)
    for trial in range(300):
        start = draw_start(trial)
        blocks = np.append(rng.uniform(-0.13, 0.13, size=(2, 2)), np.zeros((2, 1)), axis=1)
        if trial % 3 == 0:  # a stack, the wanted block above or below
            blocks[1, :2] = blocks[0, :2] + 0.005
            blocks[trial % 2, 2] = 0.04
        held = [None, 0, 1][int(rng.integers(3))]
        position = rng.uniform(WORKSPACE_LOW, WORKSPACE_HIGH)
        if held is not None:
            blocks[held] = [position[0], position[1], max(0.0, position[2] - 0.02)]
        state = State(position, np.zeros(3), held is None and bool(rng.integers(2)), held, blocks)
        successes, _, _ = play(state, start.layout, start.goal)
        assert successes[-1], trial


def test_it_fetches_a_block_again_that_was_lost():
    start = draw_start(3)
    state = first_state(start.layout)
    while state.held is None or state.position[2] < 0.08:
        state = advance(state, expert_action(state, start.layout, start.goal).astype(float), 0.032)
    dropped = advance(state, np.array([0, 0, 0, 0, 0, 0, 1.0]), 0.032)
    assert dropped.held is None
    successes, _, _ = play(dropped, start.layout, start.goal)
    assert successes[-1]
