"""The published grids, held against the numbers of episodes and the poses that SimplerEnv documents."""

from collections import Counter

import pytest

from stair.errors import UsageError
from stair.sim.simpler_grid import ENDLESS, GRIDS, Setting, find_start, looks, starts

COUNTS: dict[str, tuple[int, int]] = {
    "google_robot_pick_coke_can": (300, 675),
    "google_robot_move_near": (240, 480),
    "google_robot_place_apple_in_closed_top_drawer": (108, 189),
    "widowx_spoon_on_towel": (24, 0),
    "widowx_carrot_on_plate": (24, 0),
    "widowx_stack_cube": (24, 0),
    "widowx_put_eggplant_in_basket": (24, 0),
}
SETTINGS: tuple[Setting, Setting] = ("visual-matching", "variant-aggregation")


@pytest.mark.parametrize("task", COUNTS)
def test_a_task_has_the_published_number_of_episodes(task: str):
    found = tuple(len(starts(task, setting)) if setting in GRIDS[task] else 0 for setting in SETTINGS)
    assert found == COUNTS[task]


def test_drawers_opened_and_closed_make_216_and_378_episodes():
    tasks = ("google_robot_open_drawer", "google_robot_close_drawer")
    assert [sum(len(starts(task, setting)) for task in tasks) for setting in SETTINGS] == [216, 378]


@pytest.mark.parametrize("task", GRIDS)
def test_no_start_is_visited_twice(task: str):
    for setting in GRIDS[task]:
        every = starts(task, setting)
        assert len({repr(start) for start in every}) == len(every)
        assert len({(start.look, start.number) for start in every}) == len(every)


@pytest.mark.parametrize("task", GRIDS)
def test_every_look_has_the_same_number_of_starts(task: str):
    for setting in GRIDS[task]:
        assert len(set(Counter(start.look for start in starts(task, setting)).values())) == 1


def test_three_drawers_are_the_one_task_of_all_drawers():
    parts = [
        starts(f"google_robot_open_{place}_drawer", "visual-matching")
        for place in ("top", "middle", "bottom")
    ]
    envs = Counter(start.env for start in starts("google_robot_open_drawer", "visual-matching"))
    assert envs == Counter(start.env for part in parts for start in part)


def test_each_drawer_pose_sees_its_own_photograph():
    shown = {
        start.robot: start.make["rgb_overlay_path"]
        for start in starts("google_robot_open_top_drawer", "visual-matching")
    }
    assert shown[0.644, -0.179, -0.03] == "open_drawer_a0.png"
    assert shown[0.865, 0.222, -0.025] == "open_drawer_c2.png"
    assert len(set(shown.values())) == 9


def test_cans_stand_on_a_grid_of_five_by_five():
    places = {start.object_xy for start in starts("google_robot_pick_standing_coke_can", "visual-matching")}
    assert len(places) == 25
    assert {(-0.35, -0.02), (-0.12, 0.42), (-0.235, 0.2)} <= places
    assert all(
        start.make["upright"] for start in starts("google_robot_pick_standing_coke_can", "visual-matching")
    )


def test_distractors_are_another_environment():
    looks = {start.look: start.env for start in starts("google_robot_pick_coke_can", "variant-aggregation")}
    assert len(looks) == 9
    assert looks["distractor"] == looks["distractors"] == "GraspSingleOpenedCokeCanDistractorInScene-v0"


def test_the_basket_has_its_own_robot_scene_and_limit():
    basket = starts("widowx_put_eggplant_in_basket", "visual-matching")[23]
    assert (basket.step_limit, basket.layout, basket.robot) == (120, 23, (0.127, 0.06, 0.0))
    assert basket.make["robot"] == "widowx_sink_camera_setup"


def test_what_was_never_published_is_refused():
    with pytest.raises(UsageError, match="setting"):
        starts("widowx_stack_cube", "variant-aggregation")
    with pytest.raises(UsageError, match="task"):
        starts("google_robot_pick_object", "visual-matching")


def test_a_start_is_found_by_look_and_number():
    assert (
        find_start("google_robot_pick_coke_can", "vm-arm2", 31)
        == starts("google_robot_pick_coke_can", "visual-matching")[2 * 75 + 31]
    )
    assert find_start("widowx_stack_cube", "", 5) == starts("widowx_stack_cube", "visual-matching")[5]


@pytest.mark.parametrize("task", ENDLESS)
def test_a_task_without_a_published_grid_has_a_start_for_every_number(task: str):
    (variants,) = looks(task).values()
    assert variants == ("vm-arm0", "vm-arm1", "vm-arm2", "vm-arm3")
    many = [find_start(task, "vm-arm1", number) for number in range(7)]
    assert [start.number for start in many] == list(range(7))
    poses = 1 if "pick" in task else 3
    assert [start.robot for start in many[:poses]] * 2 == [start.robot for start in many[: 2 * poses]]
    assert len({start.robot for start in many}) == poses
    assert all(start.object_xy is None and start.layout is None for start in many)


def test_the_two_versions_of_move_near_differ_in_their_environment_only():
    old, new = (find_start(f"google_robot_move_near_v{k}", "vm-arm0", 9) for k in (0, 1))
    assert (old.env, new.env) == ("MoveNearGoogleBakedTexInScene-v0", "MoveNearGoogleBakedTexInScene-v1")
    assert (old.make, old.robot, old.layout) == (new.make, new.robot, new.layout)
    assert find_start("google_robot_move_near", "vm-arm0", 9) == old
