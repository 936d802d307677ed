"""SimplerEnv's adapter against environments with the recorded interface: every value that they are given."""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import imageio.v3 as iio
import numpy as np
import pytest

from stair.errors import StairError, UsageError
from stair.sim import simpler
from stair.sim.build import make_simulator
from stair.sim.contract import GridPoint
from stair.sim.render import CannotDraw
from stair.sim.simpler_files import needed_files
from stair.sim.simpler_grid import find_start
from stair.sim.tasks import TASKS

FAKES = Path(__file__).parents[1] / "fakes" / "simpler"
OURS = ("gymnasium", "mani_skill2_real2sim", "mani_skill2_real2sim.envs")
STILL = np.array([0, 0, 0, 0, 0, 0, 0.0])


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A data folder with a stand-in for every file; each photograph has a colour of its own."""
    folder = tmp_path_factory.mktemp("data")
    paths = {
        path
        for name, task in TASKS["simpler"].items()
        for variant in task.variants
        for number in range(task.layouts or 3)
        for path in needed_files(find_start(name, variant, number))
    }
    for number, path in enumerate(sorted(paths)):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if path.startswith("real_inpainting"):
            iio.imwrite(file, np.full((4, 4, 3), number, np.uint8))
        else:
            file.write_text(path)
    (folder / "stand-ins.txt").write_text("\n".join(paths))
    return folder


@pytest.fixture
def world(monkeypatch, data):
    """The recording stand-in for gymnasium; the driver is said to be NVIDIA's."""
    monkeypatch.syspath_prepend(str(FAKES))
    monkeypatch.setenv(simpler.DATA, "elsewhere")
    monkeypatch.setattr(simpler, "choose_driver", lambda choice, ray_tracing: choice or "nvidia")
    for name in OURS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module("gymnasium")
    for name in OURS:
        sys.modules.pop(name, None)


@pytest.fixture
def sim(world, data):
    simulator = make_simulator("simpler", assets=str(data))
    yield simulator
    simulator.close()


def same(given, expected) -> bool:
    """Equal values and types of values, down into arrays."""
    if isinstance(expected, dict):
        return given.keys() == expected.keys() and all(same(given[k], expected[k]) for k in expected)
    return np.array_equal(given, expected)


def turned(yaw: float) -> np.ndarray:
    """The robot's neutral half turn about z, and `yaw` beyond it: a product of quaternions (w, x, y, z)."""
    w, z = math.cos(yaw / 2), math.sin(yaw / 2)
    return np.array([w * 0 - z * 1, 0, 0, w * 1 + z * 0])


GOOGLE = {
    "obs_mode": "rgbd",
    "robot": "google_robot_static",
    "control_freq": 3,
    "sim_freq": 513,
    "control_mode": "arm_pd_ee_delta_pose_align_interpolate_by_planner_"
    "gripper_pd_joint_target_delta_pos_interpolate_by_planner",
    "camera_cfgs": {"add_segmentation": True},
    "renderer_kwargs": {"offscreen_only": True},
}
WIDOWX = GOOGLE | {
    "robot": "widowx",
    "control_freq": 5,
    "sim_freq": 500,
    "control_mode": "arm_pd_ee_target_delta_pose_align2_gripper_pd_joint_pos",
}
CABINET = {
    "shader_dir": "rt",
    "scene_name": "dummy_drawer",
    "station_name": "mk_station_recolor",
    "light_mode": "simple",
    "disable_bad_material": True,
}


def photo(name: str, camera: str = "overhead_camera") -> dict:
    return {"rgb_overlay_path": f"real_inpainting/{name}", "rgb_overlay_cameras": [camera]}


@pytest.mark.parametrize(
    ("point", "env", "made", "robot", "objects"),
    [
        pytest.param(
            GridPoint("widowx_carrot_on_plate", 3),
            "PutCarrotOnPlateInScene-v0",
            WIDOWX
            | {"scene_name": "bridge_table_1_v1", "max_episode_steps": 60}
            | photo("bridge_real_eval_1.png", "3rd_view_camera"),
            (0.147, 0.028, 0.0),
            {"episode_id": 3},
            id="carrot 3",
        ),
        pytest.param(
            GridPoint("widowx_put_eggplant_in_basket", 23),
            "PutEggplantInBasketScene-v0",
            WIDOWX
            | {"robot": "widowx_sink_camera_setup", "scene_name": "bridge_table_1_v2"}
            | {"max_episode_steps": 120}
            | photo("bridge_sink.png", "3rd_view_camera"),
            (0.127, 0.06, 0.0),
            {"episode_id": 23},
            id="eggplant 23",
        ),
        pytest.param(
            GridPoint("google_robot_pick_coke_can", 31, "vm-arm2"),
            "GraspSingleOpenedCokeCanInScene-v0",
            GOOGLE
            | {"scene_name": "google_pick_coke_can_1_v4", "upright": True, "max_episode_steps": 80}
            | {"urdf_version": "recolor_tabletop_visual_matching_2"}
            | photo("google_coke_can_real_eval_1.png"),
            (0.35, 0.20, 0.0),
            {"init_xy": [-0.2925, 0.09]},
            id="can 31 with the second recoloured arm",
        ),
        pytest.param(
            GridPoint("google_robot_pick_horizontal_coke_can", 24, "va-distractors"),
            "GraspSingleOpenedCokeCanDistractorInScene-v0",
            GOOGLE
            | {"scene_name": "google_pick_coke_can_1_v4", "lr_switch": True, "max_episode_steps": 80}
            | {"distractor_config": "more"},
            (0.35, 0.20, 0.0),
            {"init_xy": [-0.12, 0.42]},
            id="can 24 in a crowd",
        ),
        pytest.param(
            GridPoint("google_robot_move_near", 59, "vm-arm0"),
            "MoveNearGoogleBakedTexInScene-v0",
            GOOGLE
            | {"scene_name": "google_pick_coke_can_1_v4", "max_episode_steps": 80}
            | photo("google_move_near_real_eval_1.png"),
            (0.35, 0.21, -0.09),
            {"episode_id": 59},
            id="move near 59",
        ),
        pytest.param(
            GridPoint("google_robot_open_top_drawer", 1, "vm-arm0"),
            "OpenTopDrawerCustomInScene-v0",
            GOOGLE | CABINET | {"max_episode_steps": 113} | photo("open_drawer_a1.png"),
            (0.765, -0.182, -0.02),
            {},
            id="drawer from a1",
        ),
        pytest.param(
            GridPoint("google_robot_close_drawer", 26, "va-bedroom"),
            "CloseBottomDrawerCustomInScene-v0",
            GOOGLE | {"shader_dir": "rt", "scene_name": "modern_bedroom_no_roof", "max_episode_steps": 113},
            (0.85, 0.2, 0.0),
            {},
            id="drawer in a bedroom",
        ),
        pytest.param(
            GridPoint("google_robot_place_apple_in_closed_top_drawer", 13, "vm-arm3"),
            "PlaceIntoClosedTopDrawerCustomInScene-v0",
            GOOGLE
            | CABINET
            | {"max_episode_steps": 200, "model_ids": "baked_apple_v2"}
            | {"urdf_version": "recolor_cabinet_visual_matching_1"}
            | photo("open_drawer_b0.png"),
            (0.652, 0.009, 0.0),
            {"init_xy": [-0.05, 0.03]},
            id="apple from b0",
        ),
        pytest.param(
            GridPoint("google_robot_pick_object", 1000, "vm-arm1"),
            "GraspSingleRandomObjectInScene-v0",
            GOOGLE
            | {"scene_name": "google_pick_coke_can_1_v4", "max_episode_steps": 80}
            | {"urdf_version": "recolor_tabletop_visual_matching_1"}
            | photo("google_coke_can_real_eval_1.png"),
            (0.35, 0.20, 0.0),
            {},
            id="any object, drawn from 1000",
        ),
    ],
)
def test_an_environment_is_given_every_value_of_its_grid_point(
    world, sim, data, point, env, made, robot, objects
):
    sim.reset(point)
    if "rgb_overlay_path" in made:
        made = made | {"rgb_overlay_path": str(data / made["rgb_overlay_path"])}
    assert world.made[-1][0] == env
    assert same(world.made[-1][1], made)
    x, y, yaw = robot
    options = {
        "robot_init_options": {"init_xy": [x, y], "init_rot_quat": turned(yaw)},
        "obj_init_options": objects,
    }
    seed, given = world.resets[-1]
    assert seed == point.episode_id
    assert same(given, options)


def test_every_look_of_every_task_is_something_that_its_environment_accepts(world, sim, monkeypatch):
    monkeypatch.setattr(simpler, "gc", SimpleNamespace(collect=lambda: 0))  # 214 times would take seconds
    for name, task in TASKS["simpler"].items():
        for variant in task.variants:
            assert sim.reset(GridPoint(name, 0, variant)).image.dtype == np.uint8
            assert world.opened == 1
    assert {name for name, _ in world.made} == set(world.ACCEPTED) - {
        "OpenDrawerCustomInScene-v0",  # these two draw the drawer by lot; the grid names it
        "CloseDrawerCustomInScene-v0",
    }


def test_nothing_of_one_task_is_left_in_the_next(world, sim):
    carrot, can = (
        GridPoint("widowx_carrot_on_plate", 3),
        GridPoint("google_robot_close_top_drawer", 0, "vm-arm1"),
    )
    for point in (carrot, can, carrot, can):
        sim.reset(point)
    names = [name for name, _ in world.made]
    assert names == ["PutCarrotOnPlateInScene-v0", "CloseTopDrawerCustomInScene-v0"] * 2
    assert world.made[0] == world.made[2]
    assert world.made[1] == world.made[3]
    assert same(world.resets[1][1], world.resets[3][1])


def test_another_place_or_photograph_is_no_reason_to_build_anew(world, sim, data):
    seen = [sim.reset(GridPoint("google_robot_open_top_drawer", k, "vm-arm0")).image for k in (0, 1, 1, 8)]
    assert len(world.made) == 1
    photographs = [
        iio.imread(data / "real_inpainting" / f"open_drawer_{pose}.png") for pose in ("a0", "a1", "a1", "c2")
    ]
    assert [tuple(image[0, 0]) for image in seen] == [tuple(each[0, 0]) for each in photographs]
    sim.reset(GridPoint("google_robot_open_top_drawer", 8, "vm-arm1"))
    assert len(world.made) == 2


@pytest.mark.parametrize(
    ("task", "size"), [("widowx_stack_cube", (480, 640, 3)), ("google_robot_move_near_v1", (512, 640, 3))]
)
def test_the_picture_is_that_of_the_robots_camera_and_the_words_are_the_environments(sim, task, size):
    variant = TASKS["simpler"][task].variants[0]
    seen = sim.reset(GridPoint(task, 0, variant))
    assert seen.image.shape == size
    assert seen.instruction in (
        "StackGreenCubeOnYellowCubeBakedTexInScene-v0",
        "MoveNearGoogleBakedTexInScene-v1",
    )
    assert sim.step(STILL).observation.image[1, 0, 0] == 1


@pytest.mark.parametrize(
    ("task", "gripper", "told"),
    [
        ("widowx_carrot_on_plate", 1.0, 1.0),
        ("widowx_carrot_on_plate", 0.51, 1.0),
        ("widowx_carrot_on_plate", 0.5, -1.0),
        ("widowx_carrot_on_plate", 0.0, -1.0),
        ("google_robot_move_near", 1.0, 1.0),  # a relative command: positive closes on both sides
        ("google_robot_move_near", -0.7, -0.7),
        ("google_robot_move_near", 0.0, 0.0),
    ],
)
def test_a_gripper_is_told_what_its_robot_understands(world, sim, task, gripper, told):
    sim.reset(GridPoint(task, 0, TASKS["simpler"][task].variants[0]))
    sim.step(np.array([0.01, -0.02, 0.03, 0, 0, 0.1, gripper], np.float32))
    assert world.steps[-1] == pytest.approx([0.01, -0.02, 0.03, 0, 0, 0.1, told], abs=1e-7)


def test_angles_become_an_axis_and_an_angle(world, sim):
    sim.reset(GridPoint("widowx_carrot_on_plate", 0))
    sim.step(np.array([0, 0, 0, 0.3, -0.2, 0.5, 1]))
    # transforms3d.euler.euler2axangle(0.3, -0.2, 0.5), axis times angle
    assert world.steps[-1][3:6] == pytest.approx([0.34276505, -0.11973373, 0.52456836], abs=1e-7)


def test_success_is_of_the_step_and_an_episode_ends_at_the_limit(world, data):
    sim = make_simulator("simpler", assets=str(data), max_steps=4)
    sim.reset(GridPoint("widowx_carrot_on_plate", 0))
    assert world.made[-1][1]["max_episode_steps"] == 4
    results = [sim.step(STILL + np.eye(7)[6] * opening) for opening in (0, 1, 1, 0)]
    assert [one.success for one in results] == [False, True, True, False]
    assert [one.truncated for one in results] == [False, False, False, True]
    sim.reset(GridPoint("widowx_carrot_on_plate", 1))
    assert not sim.step(STILL).truncated
    sim.close()


def test_flags_are_plain_values_under_the_names_that_all_simulators_share(sim):
    sim.reset(GridPoint("widowx_carrot_on_plate", 0))
    info = sim.step(np.array([0, 0, 0.01, 0, 0, 0, 1])).info
    assert info == {"grasped": True, "qpos": 0.25, "has_contact": 3}
    assert {type(value) for value in info.values()} == {bool, float, int}


def test_the_second_subtask_comes_after_100_steps_and_is_never_asked_for(world, sim):
    point = GridPoint("google_robot_place_apple_in_closed_top_drawer", 0, "vm-arm0")
    assert sim.reset(point).instruction == "open top drawer"
    results = [sim.step(STILL + np.eye(7)[6]) for _ in range(200)]
    words = [one.observation.instruction for one in results]
    assert words == ["open top drawer"] * 100 + ["place apple into top drawer"] * 100
    assert [one.success for one in results] == [False] * 100 + [True] * 100
    assert [one.truncated for one in results] == [False] * 199 + [True]
    assert world.advanced == []
    assert sim.reset(point).instruction == "open top drawer"


def test_what_needs_an_nvidia_gpu_is_refused_on_the_cpu_and_the_rest_is_not(world, data):
    sim = make_simulator("simpler", assets=str(data), render="cpu")
    with pytest.raises(CannotDraw, match="ray-traced") as caught:
        sim.reset(GridPoint("google_robot_open_drawer", 0, "vm-arm0"))
    assert "--render nvidia" in caught.value.hint
    assert world.made == []
    sim.reset(GridPoint("google_robot_pick_coke_can", 0, "vm-arm0"))
    sim.close()


def test_a_missing_stage_is_told_before_anything_is_built(world, data, tmp_path):
    for file in data.rglob("*.*"):
        if file.suffix != ".glb":
            copy = tmp_path / file.relative_to(data)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(file)
    sim = make_simulator("simpler", assets=str(tmp_path))
    with pytest.raises(StairError, match=r"lacks hab2_bench_assets/stages/google_pick_coke_can_1_v4\.glb"):
        sim.reset(GridPoint("google_robot_pick_coke_can", 0, "vm-arm0"))
    assert world.made == []


def test_points_and_actions_that_make_no_sense_are_refused(world, sim):
    with pytest.raises(StairError, match="before its first reset"):
        sim.step(STILL)
    with pytest.raises(UsageError, match="no layout 24"):
        sim.reset(GridPoint("widowx_carrot_on_plate", 24))
    with pytest.raises(UsageError, match="variant"):
        sim.reset(GridPoint("google_robot_pick_coke_can", 0))
    sim.reset(GridPoint("widowx_carrot_on_plate", 0))
    for wrong in (np.full(7, np.nan), np.zeros((4, 7))):
        with pytest.raises(StairError, match="seven finite numbers"):
            sim.step(wrong)
    assert world.steps == []


def test_an_environment_that_cannot_be_made_says_so_in_two_lines(world, sim, monkeypatch):
    def fails(name, **arguments):
        raise RuntimeError("Cannot find a suitable rendering device")

    monkeypatch.setattr(sim, "_make", fails)
    with pytest.raises(StairError, match="suitable rendering device") as caught:
        sim.reset(GridPoint("widowx_carrot_on_plate", 0))
    assert "Vulkan" in caught.value.hint


def test_one_process_has_one_asset_folder(world, data, tmp_path):
    make_simulator("simpler", assets=str(data)).close()
    with pytest.raises(StairError, match="was loaded with the assets of"):
        make_simulator("simpler", assets=str(tmp_path))
    with pytest.raises(UsageError, match="is no folder"):
        make_simulator("simpler", assets=str(tmp_path / "nowhere"))


def test_a_machine_without_simplerenv_is_told_so(monkeypatch):
    monkeypatch.setattr(simpler, "choose_driver", lambda choice, ray_tracing: "nvidia")
    monkeypatch.setitem(sys.modules, "mani_skill2_real2sim", None)
    monkeypatch.setitem(sys.modules, "gymnasium", sys)
    with pytest.raises(StairError, match="SimplerEnv cannot be loaded here"):
        make_simulator("simpler")
