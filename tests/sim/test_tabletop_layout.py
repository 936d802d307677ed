"""Episode numbers become starts that are possible, repeatable and varied."""

from __future__ import annotations

import numpy as np

from stair.sim.tabletop_layout import (
    BLOCK_HALF,
    COLOURS,
    GOALS,
    TARGET_HALF,
    TEMPLATES,
    WORKSPACE_HIGH,
    Goal,
    draw_start,
    inside_target,
    phrase,
)

PINNED_WORDS = "pick up the blue block and put it on the towel"
PINNED_PLACES = [[0.0526, -0.0711], [0.0795, 0.0953], [-0.0365, 0.0735], [-0.0607, -0.0851]]
STARTS = [draw_start(k) for k in range(500)]


def test_an_episode_id_always_draws_the_same_start():
    for episode_id in (0, 7, 100_000):
        first, second = draw_start(episode_id), draw_start(episode_id)
        assert np.array_equal(first.layout.blocks, second.layout.blocks)
        assert np.array_equal(first.layout.targets, second.layout.targets)
        assert np.array_equal(first.layout.gripper, second.layout.gripper)
        assert (first.goal, first.template, first.layout.colours) == (
            second.goal,
            second.template,
            second.layout.colours,
        )


def test_recorded_results_keep_their_layouts():
    start = draw_start(100_000)
    assert phrase(start.layout, start.goal, start.template) == PINNED_WORDS
    places = np.concatenate([start.layout.blocks, start.layout.targets])
    assert np.allclose(places, PINNED_PLACES, atol=5e-5)


def test_nothing_overlaps_and_everything_is_within_reach():
    for start in STARTS:
        blocks, targets = start.layout.blocks, start.layout.targets
        assert np.linalg.norm(blocks[0] - blocks[1]) > 0.07 + BLOCK_HALF
        assert np.linalg.norm(targets[0] - targets[1]) > 0.12
        for block in blocks:
            # A block's corner is never on a target, whatever the target's shape.
            assert min(np.linalg.norm(block - target) for target in targets) > 1.4 * (
                TARGET_HALF + BLOCK_HALF
            )
        assert np.abs(np.concatenate([blocks, targets])).max() + BLOCK_HALF < WORKSPACE_HIGH[0]
        assert 0.10 <= start.layout.gripper[2] <= 0.14


def test_starts_are_varied_enough_for_language_to_decide():
    assert {start.goal for start in STARTS} == set(GOALS)
    assert {start.template for start in STARTS} == set(range(len(TEMPLATES)))
    assert {colour for start in STARTS for colour in start.layout.colours} == set(COLOURS)
    assert all(len(set(start.layout.colours)) == 2 for start in STARTS)
    firsts = np.array([start.layout.blocks[0] for start in STARTS])
    assert firsts.std(axis=0).min() > 0.05


def test_the_swapped_goal_shares_neither_block_nor_target():
    assert Goal(0, 1).swapped() == Goal(1, 0)
    assert all(goal.swapped().swapped() == goal for goal in GOALS)


def test_the_plate_is_round_and_the_towel_square():
    layout = STARTS[0].layout
    corner = np.array([0.9, 0.9]) * TARGET_HALF
    assert not inside_target(layout.targets[0] + corner, layout, 0)
    assert inside_target(layout.targets[1] + corner, layout, 1)
    assert inside_target(layout.targets[0] + [0, 0.99 * TARGET_HALF], layout, 0)
    assert not inside_target(layout.targets[1] + [0, 1.01 * TARGET_HALF], layout, 1)
