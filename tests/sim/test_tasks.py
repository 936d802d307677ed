"""Grid points are listed without any simulator, and what does not exist is refused."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stair.errors import UsageError
from stair.sim import simpler_grid
from stair.sim.contract import GridPoint
from stair.sim.tasks import GOOGLE, TASKS, WIDOWX, check_point, find_variants, points

SIMPLER = TASKS["simpler"]


def test_points_are_the_asked_layouts_in_order():
    listed = points("tabletop", "tabletop_put_block", 100_000, 3, "swapped")
    assert listed == [GridPoint("tabletop_put_block", 100_000 + k, "swapped") for k in range(3)]
    assert listed[0].key == "tabletop_put_block/ep100000/swapped"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("tabletpo", "tabletop_put_block", 0, 1), "did you mean 'tabletop'"),
        (("tabletop", "put_block", 0, 1), "did you mean 'tabletop_put_block'"),
        (("tabletop", "put_block", 0, 0), "unknown task"),
        (("tabletop", "tabletop_put_block", 0, 0), "which never end"),
        (("simpler", "widowx_carrot_on_plat", 0, 1), "did you mean 'widowx_carrot_on_plate'"),
        (("simpler", "widowx_carrot_on_plate", 24, 1), "numbered from 0 to 23; to play them again"),
        (("simpler", "google_robot_open_drawer", 0, 1, "vm-arm4"), "did you mean 'vm-arm"),
        (("simpler", "widowx_stack_cube", 0, 1, "variant-aggregation"), "comes in none of the variants"),
        (("tabletop", "tabletop_put_block", 0, 1, "swaped"), "did you mean 'swapped'"),
        (("tabletop", "tabletop_put_block", -2, 5), "no layout -2"),
        (("tabletop", "tabletop_put_block", 0, -1), "cannot visit -1"),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(arguments: tuple, says: str):
    with pytest.raises(UsageError) as caught:
        points(*arguments)
    assert says in str(caught.value)


def test_the_step_limit_is_the_tasks():
    assert check_point("tabletop", GridPoint("tabletop_put_block", 7)).step_limit == 60


SIMPLER_NAMES = [
    "google_robot_pick_coke_can",
    "google_robot_pick_horizontal_coke_can",
    "google_robot_pick_vertical_coke_can",
    "google_robot_pick_standing_coke_can",
    "google_robot_pick_object",
    "google_robot_move_near",
    "google_robot_move_near_v0",
    "google_robot_move_near_v1",
    "google_robot_open_drawer",
    "google_robot_open_top_drawer",
    "google_robot_open_middle_drawer",
    "google_robot_open_bottom_drawer",
    "google_robot_close_drawer",
    "google_robot_close_top_drawer",
    "google_robot_close_middle_drawer",
    "google_robot_close_bottom_drawer",
    "google_robot_place_in_closed_drawer",
    "google_robot_place_in_closed_top_drawer",
    "google_robot_place_in_closed_middle_drawer",
    "google_robot_place_in_closed_bottom_drawer",
    "google_robot_place_apple_in_closed_top_drawer",
    "widowx_spoon_on_towel",
    "widowx_carrot_on_plate",
    "widowx_stack_cube",
    "widowx_put_eggplant_in_basket",
]


def test_simpler_has_the_25_tasks_that_simplerenv_names():
    assert sorted(SIMPLER) == sorted(SIMPLER_NAMES)
    assert len(SIMPLER) == 25


@pytest.mark.parametrize(
    ("task", "robot", "limit", "layouts", "looks"),
    [
        ("google_robot_pick_coke_can", GOOGLE, 80, 75, 4 + 9),
        ("google_robot_move_near", GOOGLE, 80, 60, 4 + 8),
        ("google_robot_open_drawer", GOOGLE, 113, 27, 4 + 7),
        ("google_robot_close_top_drawer", GOOGLE, 113, 9, 4 + 7),
        ("google_robot_place_apple_in_closed_top_drawer", GOOGLE, 200, 27, 4 + 7),
        ("google_robot_pick_object", GOOGLE, 80, None, 4),
        ("widowx_carrot_on_plate", WIDOWX, 60, 24, 1),
        ("widowx_put_eggplant_in_basket", WIDOWX, 120, 24, 1),
    ],
)
def test_a_task_is_as_published(task, robot, limit, layouts, looks):
    found = SIMPLER[task]
    assert (found.robot, found.step_limit, found.layouts) == (robot, limit, layouts)
    assert len(found.variants) == looks


@pytest.mark.parametrize("task", simpler_grid.GRIDS)
def test_the_table_lists_exactly_the_starts_of_the_grid(task):
    for setting in simpler_grid.GRIDS[task]:
        listed = [
            simpler_grid.find_start(task, point.variant, point.episode_id)
            for variant in find_variants("simpler", task, [setting])
            for point in points("simpler", task, -1, 0, variant)
        ]
        assert listed == simpler_grid.starts(task, setting)


def test_groups_stand_for_their_looks_and_no_look_comes_twice():
    coke = "google_robot_pick_coke_can"
    arms = tuple(f"vm-arm{k}" for k in range(4))
    assert find_variants("simpler", coke, ["visual-matching"]) == arms
    assert find_variants("simpler", coke, ["vm-arm2", "visual-matching"]) == ("vm-arm2", *arms[:2], arms[3])
    assert find_variants("simpler", coke, ["variant-aggregation"])[:4] == (
        "va-base",
        "va-background1",
        "va-background2",
        "va-darker",
    )
    assert find_variants("simpler", "widowx_stack_cube", ["visual-matching"]) == ("",)


def test_the_plain_look_of_a_google_task_is_the_arm_as_it_is_under_its_own_name():
    for named in ("", "vm-arm0"):
        (point,) = points("simpler", "google_robot_move_near", 7, 1, named)
        assert point.key == "google_robot_move_near/ep0007/vm-arm0"
    assert points("simpler", "widowx_stack_cube", 7, 1)[0].key == "widowx_stack_cube/ep0007"


def test_a_group_of_other_tasks_is_passed_over_but_an_unknown_name_is_not():
    both = ["visual-matching", "variant-aggregation"]
    assert find_variants("simpler", "widowx_stack_cube", both) == ("",)
    with pytest.raises(UsageError, match="unknown variant of widowx_stack_cube 'va-darker'"):
        find_variants("simpler", "widowx_stack_cube", ["", "va-darker"])
    with pytest.raises(UsageError, match="none of the variants"):
        find_variants("simpler", "widowx_stack_cube", [])


def test_more_layouts_than_there_are_means_all_of_them():
    task = "widowx_carrot_on_plate"
    assert [point.episode_id for point in points("simpler", task, -1, 50)] == list(range(24))
    assert [point.episode_id for point in points("simpler", task, 20, 0)] == [20, 21, 22, 23]
    assert len(points("simpler", "google_robot_pick_object", -1, 500)) == 500


def test_an_evaluation_that_is_told_no_first_layout_begins_where_the_task_says():
    assert points("tabletop", "tabletop_put_block", -1, 1)[0].episode_id == 100_000
    assert points("tabletop", "tabletop_put_block", 0, 1)[0].episode_id == 0


def test_what_only_nvidia_draws_and_what_needs_its_time_is_marked():
    assert {name for name, task in SIMPLER.items() if task.ray_traced} == {
        name for name in SIMPLER if "drawer" in name
    }
    assert {name for name, task in SIMPLER.items() if task.least_steps > 1} == {
        name for name in SIMPLER if "place" in name
    }
    assert "no grid" in SIMPLER["google_robot_pick_object"].note


def test_listing_needs_nothing_but_the_standard_library():
    code = (
        "import sys; from stair.sim.tasks import points; points('simpler', 'widowx_stack_cube', -1, 0);"
        "print([m for m in ('numpy', 'torch', 'gymnasium', 'yaml', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
