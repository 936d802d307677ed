"""A demonstration shows the way back from noise, ends at rest after success, and follows from its number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stair.collect.config import LAYOUTS, CollectConfig, check, layout_of
from stair.collect.demonstrate import demonstrate, goals_in_turn
from stair.errors import StairError, UsageError
from stair.sim.tabletop_layout import GOALS, draw_start, inside_target

CONFIG = CollectConfig(image_size=24)


def column(steps: list[dict], name: str) -> np.ndarray:
    return np.array([step[name] for step in steps])


def states(steps: list[dict]) -> np.ndarray:
    return np.array([step["observation"]["state"] for step in steps])


def test_the_same_number_gives_the_same_demonstration():
    one, other = demonstrate(CONFIG, 5), demonstrate(CONFIG, 5)
    assert one.metadata == other.metadata
    assert len(one.steps) == len(other.steps)
    for a, b in zip(one.steps, other.steps, strict=True):
        assert np.array_equal(a["observation"]["image_0"], b["observation"]["image_0"])
        assert np.array_equal(a["action"], b["action"])
    different = demonstrate(replace(CONFIG, seed=1), 5)
    assert not np.array_equal(states(one.steps)[0], states(different.steps)[0])


def test_every_step_has_what_the_data_set_promises():
    for index in range(20):
        steps = demonstrate(CONFIG, index).steps
        assert 10 <= len(steps) <= 60
        for step in steps:
            assert step["observation"]["image_0"].shape == (24, 24, 3)
            assert step["observation"]["image_0"].dtype == np.uint8
            assert step["observation"]["state"].shape == step["action"].shape == (7,)
            assert step["observation"]["state"].dtype == step["action"].dtype == np.float32
        rest = [False] * (len(steps) - 1)
        assert list(column(steps, "is_first")) == [True, *rest]
        assert list(column(steps, "is_last")) == list(column(steps, "is_terminal")) == [*rest, True]
        assert list(column(steps, "reward")) == [*np.zeros(len(rest)), 1.0]
        assert (column(steps, "discount") == 1).all()


def test_without_noise_the_recorded_action_is_the_executed_one():
    steps = demonstrate(replace(CONFIG, noise=0.0), 3).steps
    moved = np.diff(states(steps)[:, :3], axis=0)
    assert np.allclose(moved, column(steps, "action")[:-1, :3], atol=1e-6)


def test_noise_is_on_the_executed_action_and_not_on_the_recorded_one():
    errors, resting = [], []
    for index in range(40):
        steps = demonstrate(CONFIG, index).steps
        moved = np.diff(states(steps)[:, :3], axis=0)
        actions = column(steps, "action")
        errors.append((moved - actions[:-1, :3])[:, :2])
        resting.append(actions[-1, :2])
    assert np.concatenate(errors).std() == pytest.approx(CONFIG.noise, rel=0.15)
    assert not np.array(resting).any()


@pytest.mark.parametrize("stay", [0, 4])
def test_it_ends_so_many_steps_after_success_with_the_gripper_open(stay: int):
    for index in range(10):
        steps = demonstrate(replace(CONFIG, stay=stay), index).steps
        gripper = column(steps, "action")[:, 6]
        closed = np.flatnonzero(gripper == 0)
        assert len(steps) - 1 - closed[-1] == stay + 1  # one step opens, `stay` follow


def test_the_action_leads_to_what_the_words_ask_for():
    config = replace(CONFIG, instructions_per_layout=4)
    for index in range(12):
        start = draw_start(layout_of(config, index))
        goal = goals_in_turn(start)[index % 4]
        steps = demonstrate(config, index).steps
        words = steps[0]["language_instruction"]
        assert start.layout.colours[goal.block] in words
        assert ("plate", "towel")[goal.target] in words
        released = np.flatnonzero(column(steps, "action")[:, 6] == 0)[-1] + 1
        assert inside_target(states(steps)[released, :2], start.layout, goal.target)


def test_several_goals_share_a_layout_and_its_first_picture():
    config = replace(CONFIG, instructions_per_layout=4)
    made = [demonstrate(config, index) for index in range(8)]
    firsts = [d.steps[0]["observation"]["image_0"] for d in made]
    assert all(np.array_equal(firsts[0], image) for image in firsts[:4])
    assert not np.array_equal(firsts[0], firsts[4])
    assert len({d.steps[0]["language_instruction"] for d in made[:4]}) == 4
    assert len({d.metadata["file_path"] for d in made}) == 8
    for layout_id in range(20):
        assert set(goals_in_turn(draw_start(layout_id))) == set(GOALS)


def test_demonstrations_stay_off_the_layouts_of_evaluations():
    for seed in (0, 1, 12345, 2**31 - 1):
        config = replace(CONFIG, seed=seed, episodes=LAYOUTS)
        ids = [layout_of(config, index) for index in range(0, LAYOUTS, 97)]
        assert min(ids) >= 0
        assert max(ids) < 100_000
        assert len(set(ids)) == len(ids)
    first, second = ({layout_of(replace(CONFIG, seed=seed), i) for i in range(5000)} for seed in (0, 1))
    assert not first & second


@pytest.mark.parametrize(
    "wrong",
    [{"episodes": 0}, {"noise": -0.01}, {"instructions_per_layout": 5}, {"shards": 2000}, {"image_size": 8}],
)
def test_values_out_of_range_are_refused_by_name(wrong: dict):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        check(replace(CONFIG, **wrong))


def test_hopeless_noise_is_said_to_be_the_cause():
    with pytest.raises(StairError, match="failed 20 times") as caught:
        demonstrate(replace(CONFIG, noise=0.2, image_size=16), 0)
    assert "--noise" in caught.value.hint


def test_a_demonstration_led_astray_goes_to_the_wrong_block_and_records_the_right_action():
    config = replace(CONFIG, wander=1.0, noise=0.0)
    astray = 0
    for index in range(30):
        start = draw_start(layout_of(config, index))
        steps = demonstrate(config, index).steps
        before, after = states(steps)[:2]
        goal = start.goal.block
        way = {k: start.layout.blocks[k] - before[:2] for k in (goal, 1 - goal)}
        moved, recorded = after[:2] - before[:2], column(steps, "action")[0][:2]
        if np.linalg.norm(recorded) > 0.01 and np.linalg.norm(moved) > 0.01:
            assert recorded @ way[goal] > 0.99 * np.linalg.norm(recorded) * np.linalg.norm(way[goal])
            assert moved @ way[1 - goal] > 0.99 * np.linalg.norm(moved) * np.linalg.norm(way[1 - goal])
            astray += 1
    assert astray > 15
