"""The tabletop keeps the simulator's promise: deterministic, WidowX conventions, success as it is now."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stair.errors import StairError, UsageError
from stair.sim.contract import GridPoint
from stair.sim.tabletop import TabletopSim, advance, first_state, is_success
from stair.sim.tabletop_expert import expert_action
from stair.sim.tabletop_layout import BLOCK_HALF, GOALS, WORKSPACE_HIGH, WORKSPACE_LOW, draw_start, phrase

TASK = "tabletop_put_block"


def act(x: float = 0, y: float = 0, z: float = 0, gripper: float = 1) -> np.ndarray:
    return np.array([x, y, z, 0, 0, 0, gripper])


@pytest.fixture
def sim() -> TabletopSim:
    return TabletopSim(image_size=32)


def above(sim: TabletopSim, place: np.ndarray | tuple[float, float], z: float) -> None:
    sim.state = replace(sim.state, position=np.array([*place, z]))


def test_the_same_point_and_actions_give_the_same_episode():
    rng = np.random.default_rng(3)
    actions = rng.uniform(-0.05, 0.05, size=(30, 7))
    actions[:, 6] = rng.random(30) > 0.4
    films = []
    for _ in range(2):
        sim = TabletopSim(image_size=32)
        sim.reset(GridPoint(TASK, 12))  # what was played before leaves no trace
        sim.step(actions[5])
        frames = [sim.reset(GridPoint(TASK, 11)).image]
        frames += [sim.step(action).observation.image for action in actions]
        films.append(np.stack(frames))
    assert np.array_equal(films[0], films[1])
    assert films[0].dtype == np.uint8
    assert films[0].shape == (31, 32, 32, 3)


def test_it_speaks_widowx(sim: TabletopSim):
    sim.reset(GridPoint(TASK, 0))
    above(sim, (0, 0), 0.1)
    sim.step(np.array([0.01, -0.02, 0.03, 0.1, 0.2, -0.3, 1.0]))
    assert np.allclose(sim.state.proprio, [0.01, -0.02, 0.13, 0.1, 0.2, -0.3, 1.0])
    sim.step(act(gripper=0.4))
    assert sim.state.opening == 0.0


def test_motion_is_clipped_to_a_step_and_to_the_workspace(sim: TabletopSim):
    sim.reset(GridPoint(TASK, 0))
    above(sim, (0, 0), 0.1)
    sim.step(act(x=9.0))
    assert np.allclose(sim.state.position, [0.05, 0, 0.1])
    for _ in range(10):
        sim.step(act(9, 9, 9))
    assert np.allclose(sim.state.position, WORKSPACE_HIGH)
    for _ in range(10):
        sim.step(act(-9, -9, -9))
    assert np.allclose(sim.state.position, WORKSPACE_LOW)


@pytest.mark.parametrize(
    ("aside", "height", "caught"),
    [(0.0, 0.02, True), (0.031, 0.02, True), (0.033, 0.02, False), (0.0, 0.034, True), (0.0, 0.036, False)],
)
def test_closing_grasps_only_close_and_low(sim: TabletopSim, aside: float, height: float, caught: bool):
    sim.reset(GridPoint(TASK, 5))
    block = sim.goal.block
    x, y = sim.layout.blocks[block]
    above(sim, (x + aside, y), height)
    result = sim.step(act(gripper=0))
    assert result.info == {"grasped": caught, "held": caught}
    assert (sim.state.held == block) is caught
    if caught:  # the fingers centre what they close on, and are kept apart by it
        assert np.allclose(sim.state.blocks[block, :2], [x + aside, y])
        assert 0 < sim.state.opening < 1


def test_fingers_that_are_closed_already_pick_nothing_up(sim: TabletopSim):
    sim.reset(GridPoint(TASK, 5))
    x, y = sim.layout.blocks[0]
    above(sim, (x, y), 0.06)
    sim.step(act(gripper=0))
    sim.step(act(z=-0.05, gripper=0))
    assert sim.state.held is None
    sim.step(act(gripper=1))
    sim.step(act(gripper=0))
    assert sim.state.held == 0


def carry(sim: TabletopSim, place: np.ndarray, lift: float) -> None:
    """Takes the goal's block to `place`, lifted so high on the way, still holding it."""
    above(sim, sim.layout.blocks[sim.goal.block], 0.02)
    sim.step(act(gripper=0))
    sim.step(act(z=lift, gripper=0))
    above(sim, place, sim.state.position[2])
    sim.step(act(gripper=0))


def test_success_is_the_condition_now_and_can_be_spoiled(sim: TabletopSim):
    sim.reset(GridPoint(TASK, 5))
    target = sim.layout.targets[sim.goal.target]
    carry(sim, target, lift=0.04)
    assert not sim.step(act(gripper=0)).success  # held above its place is not put
    assert sim.step(act(gripper=1)).success
    assert sim.state.blocks[sim.goal.block, 2] == 0.0
    assert sim.step(act(z=0.02)).success
    above(sim, target, 0.02)
    spoiled = sim.step(act(gripper=0))
    assert not spoiled.success
    assert spoiled.info == {"grasped": True, "held": True}


def test_a_block_beside_its_target_or_dragged_there_is_no_success(sim: TabletopSim):
    sim.reset(GridPoint(TASK, 5))
    target = sim.layout.targets[sim.goal.target]
    carry(sim, target + np.array([0.055, 0.0]), lift=0.04)
    assert not sim.step(act(gripper=1)).success
    sim.reset(GridPoint(TASK, 5))
    carry(sim, target, lift=0.0)
    assert not sim.step(act(gripper=1)).success


def test_a_block_let_go_above_another_rests_on_it_and_either_can_be_taken(sim: TabletopSim):
    sim.reset(GridPoint(TASK, 5))
    lower = 1 - sim.goal.block
    carry(sim, sim.layout.blocks[lower], lift=0.08)
    sim.step(act(gripper=1))
    assert sim.state.blocks[sim.goal.block, 2] == pytest.approx(2 * BLOCK_HALF)
    stacked = sim.state
    above(sim, stacked.blocks[lower, :2], 0.055)
    sim.step(act(gripper=0))
    assert sim.state.held == sim.goal.block
    sim.state = stacked
    above(sim, stacked.blocks[lower, :2], 0.015)
    sim.step(act(gripper=0))
    assert sim.state.held == lower
    sim.step(act(z=0.05, gripper=0))
    assert sim.state.blocks[sim.goal.block, 2] == 0.0  # its support is gone


def test_only_the_step_limit_ends_an_episode():
    sim = TabletopSim(image_size=16)
    sim.reset(GridPoint(TASK, 1))
    results = [sim.step(expert_action(sim.state, sim.layout, sim.goal)) for _ in range(60)]
    assert [r.truncated for r in results] == [False] * 59 + [True]
    assert results[-1].success
    assert sum(r.success for r in results) > 20
    sim = TabletopSim(image_size=16, max_steps=2)
    sim.reset(GridPoint(TASK, 1))
    assert [sim.step(act()).truncated for _ in range(2)] == [False, True]


def test_swapped_speaks_of_the_other_goal_and_counts_the_original_one(sim: TabletopSim):
    for episode_id in range(8):
        plain = sim.reset(GridPoint(TASK, episode_id))
        goal = sim.goal
        swapped = sim.reset(GridPoint(TASK, episode_id, "swapped"))
        assert np.array_equal(plain.image, swapped.image)
        assert sim.goal == goal
        template = draw_start(episode_id).template
        assert swapped.instruction == phrase(sim.layout, goal.swapped(), template) != plain.instruction
        listening = [sim.step(expert_action(sim.state, sim.layout, goal.swapped())) for _ in range(40)]
        assert not any(r.success or r.info["grasped"] for r in listening)
        assert is_success(sim.state, sim.layout, goal.swapped())
        sim.reset(GridPoint(TASK, episode_id, "swapped"))
        deaf = [sim.step(expert_action(sim.state, sim.layout, goal)) for _ in range(40)]
        assert deaf[-1].success


def test_one_layout_serves_four_goals_that_exclude_each_other(sim: TabletopSim):
    start = draw_start(42)
    for goal in GOALS:
        first = sim.begin(start.layout, goal, phrase(start.layout, goal, 0))
        assert np.array_equal(first.image, sim.begin(start.layout, GOALS[0], "").image)
        sim.begin(start.layout, goal, phrase(start.layout, goal, 0))
        for _ in range(40):
            sim.step(expert_action(sim.state, sim.layout, goal))
        assert [is_success(sim.state, start.layout, other) for other in GOALS] == [g == goal for g in GOALS]


def test_a_random_policy_about_never_succeeds():
    rng = np.random.default_rng(0)
    succeeded = 0
    for episode_id in range(200):
        start = draw_start(episode_id)
        state = first_state(start.layout)
        for _ in range(60):
            action = rng.uniform(-0.05, 0.05, size=7)
            action[6] = rng.random()
            state = advance(state, action, grasp_tolerance=0.032)
        succeeded += is_success(state, start.layout, start.goal)
    assert succeeded < 4


def test_bad_actions_points_and_options_are_refused(sim: TabletopSim):
    with pytest.raises(StairError, match="before its first reset"):
        sim.step(act())
    with pytest.raises(UsageError, match="no layout -1"):
        sim.reset(GridPoint(TASK, -1))
    with pytest.raises(UsageError, match="unknown variant"):
        sim.reset(GridPoint(TASK, 0, "sideways"))
    sim.reset(GridPoint(TASK, 0))
    for action in (np.full(7, np.nan), np.zeros((16, 7)), np.zeros(6)):
        with pytest.raises(StairError, match="seven finite numbers"):
            sim.step(action)
    with pytest.raises(UsageError, match="no images of 4"):
        TabletopSim(image_size=4)
    with pytest.raises(UsageError, match="grasp_tolerance"):
        TabletopSim(grasp_tolerance=0.5)
    with pytest.raises(UsageError, match="max_steps"):
        TabletopSim(max_steps=0)
