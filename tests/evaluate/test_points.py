"""What an evaluation visits, and how it is shared out, without any simulator."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from stair.errors import UsageError
from stair.evaluate.config import EvalConfig
from stair.evaluate.points import all_points, remarks, share

GOOGLE = EvalConfig(
    simulator="simpler",
    tasks=(
        "google_robot_pick_coke_can",
        "google_robot_move_near",
        "google_robot_open_drawer",
        "google_robot_close_drawer",
        "google_robot_place_apple_in_closed_top_drawer",
    ),
    variants=("visual-matching", "variant-aggregation"),
    episodes=0,
)
WIDOWX = EvalConfig(
    simulator="simpler",
    tasks=(
        "widowx_spoon_on_towel",
        "widowx_carrot_on_plate",
        "widowx_stack_cube",
        "widowx_put_eggplant_in_basket",
    ),
    episodes=0,
)


def test_all_of_the_google_robots_grids_are_as_many_episodes_as_published():
    found = all_points(GOOGLE)
    settings = Counter(point.variant.split("-")[0] for point in found)
    assert settings == {"vm": 300 + 240 + 216 + 108, "va": 675 + 480 + 378 + 189}
    assert len({point.key for point in found}) == len(found)


def test_one_list_of_variants_serves_tasks_that_have_only_some_of_them():
    both = replace(WIDOWX, tasks=(*WIDOWX.tasks, "google_robot_move_near"), variants=GOOGLE.variants)
    counts = Counter(point.task for point in all_points(both))
    assert counts == {**dict.fromkeys(WIDOWX.tasks, 24), "google_robot_move_near": 720}


def test_a_task_named_twice_is_played_once():
    assert len(all_points(replace(WIDOWX, tasks=("widowx_stack_cube",) * 2))) == 24


def test_the_tabletop_begins_where_no_demonstration_was_made_and_may_be_told_otherwise():
    assert [point.episode_id for point in all_points(EvalConfig(episodes=2))] == [100_000, 100_001]
    assert [point.episode_id for point in all_points(EvalConfig(episodes=2, first_episode=7))] == [7, 8]
    swapped = all_points(EvalConfig(episodes=1, swap_goal=True))
    assert swapped == all_points(EvalConfig(episodes=1, variants=("swapped",)))
    assert swapped[0].variant == "swapped"


@pytest.mark.parametrize("shards", [1, 3, 4, 7, 96, 200])
def test_shares_are_every_point_once_and_as_equal_as_can_be(shards):
    every = all_points(WIDOWX)
    shares = [share(every, k, shards) for k in range(shards)]
    assert [point for one in shares for point in one] == every
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_shares_build_few_scenes():
    every = all_points(GOOGLE)
    scenes = len({(point.task, point.variant) for point in every})
    built = sum(len({(p.task, p.variant) for p in share(every, k, 32)}) for k in range(32))
    assert scenes == 4 * 5 + 9 + 8 + 7 * 3
    assert built <= scenes + 32 - 1
    dealt = sum(len({(p.task, p.variant) for p in every[k::32]}) for k in range(32))
    assert dealt > 10 * built


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tasks": ()}, "nothing to evaluate"),
        ({"episodes": -1}, "nothing to evaluate"),
        ({"max_steps": -5}, "cannot have -5 steps"),
        ({"shard": 2, "shards": 2}, "no share 2 of 2"),
        ({"control": "chunk", "execute": 0}, "cannot run 0 actions"),
        ({"variants": ("va-drker",)}, "did you mean 'va-darker'"),
        ({"first_episode": 60}, "google_robot_move_near has no layout 60"),
        ({"render": "cpu"}, "google_robot_open_drawer is ray-traced"),
        ({"max_steps": 100}, "within 100 steps: its second part begins after 100"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_at_plan_time(changes, words):
    with pytest.raises(UsageError) as caught:
        all_points(replace(GOOGLE, **changes))
    assert words in str(caught.value)


def test_what_can_be_met_is_not_refused():
    assert all_points(replace(GOOGLE, max_steps=101))
    assert all_points(replace(WIDOWX, render="cpu", max_steps=5))


def test_a_reader_is_told_what_may_not_be_as_it_was_meant():
    assert remarks(WIDOWX) == []
    asked = replace(WIDOWX, tasks=("widowx_stack_cube", "google_robot_pick_object"), episodes=50)
    fewer, drawn = remarks(asked)
    assert "24 layouts, fewer than the 50 asked for" in fewer
    assert "published no grid" in drawn
    assert any("v1" in line for line in remarks(GOOGLE))


def test_listing_needs_no_numpy():
    code = (
        "import sys; from stair.evaluate.points import all_points, EvalConfig;"
        "all_points(EvalConfig()); print([m for m in ('numpy', 'torch', 'imageio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
