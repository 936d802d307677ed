"""Exported names, read back by substring as SimplerEnv's scripts do, give the rates of the records."""

from dataclasses import replace
from pathlib import Path

import pytest

from stair.errors import StairError, UsageError
from stair.evaluate.report.reading import read_report
from stair.evaluate.report.simpler_names import export_simpler, simpler_name
from stair.rundir import append_line
from stair.sim.simpler_grid import CONTROL_MODES
from tests.evaluate.test_episodes import record
from tests.fakes.simpler_run import GOOGLE, WIDOWX, simpler_records, write_run

ARMS = (
    "None",
    "recolor_tabletop_visual_matching_1",
    "recolor_tabletop_visual_matching_2",
    "recolor_cabinet_visual_matching_1",
)
G = CONTROL_MODES["google"]
POSES = ("lr_switch", "laid_vertically", "upright")
CAN = [
    "google_pick_coke_can_1_v4/GraspSingleOpenedCokeCanInScene-v0_{}_True",
    "google_pick_coke_can_1_v4_alt_background/GraspSingleOpenedCokeCanInScene-v0_{}_True",
    "google_pick_coke_can_1_v4_alt_background_2/GraspSingleOpenedCokeCanInScene-v0_{}_True",
    "google_pick_coke_can_1_v4/GraspSingleOpenedCokeCanInScene-v0_{}_True_slightly_brighter_lighting_True",
    "google_pick_coke_can_1_v4/GraspSingleOpenedCokeCanInScene-v0_{}_True_slightly_darker_lighting_True",
    "google_pick_coke_can_1_v4/GraspSingleOpenedCokeCanDistractorInScene-v0_{}_True",
    "google_pick_coke_can_1_v4/GraspSingleOpenedCokeCanDistractorInScene-v0_{}_True_distractor_config_more",
    "Baked_sc1_staging_objaverse_cabinet1_h870/GraspSingleOpenedCokeCanInScene-v0_{}_True",
    "Baked_sc1_staging_objaverse_cabinet2_h870/GraspSingleOpenedCokeCanInScene-v0_{}_True",
]
NEAR = [
    "google_pick_coke_can_1_v4/MoveNearGoogleInScene-v0",
    "google_pick_coke_can_1_v4/MoveNearGoogleInScene-v0_no_distractor_True",
    "google_pick_coke_can_1_v4_alt_background/MoveNearGoogleInScene-v0",
    "google_pick_coke_can_1_v4_alt_background_2/MoveNearGoogleInScene-v0",
    "google_pick_coke_can_1_v4/MoveNearGoogleInScene-v0_slightly_brighter_lighting_True",
    "google_pick_coke_can_1_v4/MoveNearGoogleInScene-v0_slightly_darker_lighting_True",
    "Baked_sc1_staging_objaverse_cabinet1_h870/MoveNearGoogleInScene-v0",
    "Baked_sc1_staging_objaverse_cabinet2_h870/MoveNearGoogleInScene-v0",
]
DRAWER = [
    "frl_apartment_stage_simple/{}_shader_dir_rt",
    "modern_bedroom_no_roof/{}_shader_dir_rt",
    "modern_office_no_roof/{}_shader_dir_rt",
    "frl_apartment_stage_simple/{}_shader_dir_rt_light_mode_brighter",
    "frl_apartment_stage_simple/{}_shader_dir_rt_light_mode_darker",
    "frl_apartment_stage_simple/{}_shader_dir_rt_station_name_mk_station2",
    "frl_apartment_stage_simple/{}_shader_dir_rt_station_name_mk_station3",
]
PHOTOGRAPHED = (
    "dummy_drawer/{}_shader_dir_rt_station_name_mk_station_recolor"
    "_light_mode_simple_disable_bad_material_True"
)
OPEN = [f"Open{which}DrawerCustomInScene-v0" for which in ("Top", "Middle", "Bottom")]
APPLE = "PlaceIntoClosedTopDrawerCustomInScene-v0"

FOLDERS = {
    # The folders that tools/calc_metrics_evaluation_videos.py looks into, with what each name must hold.
    ("google_robot_pick_coke_can", "vm"): (
        [f"{CAN[0].format(pose)}_urdf_version_{arm}" for pose in POSES for arm in ARMS],
        ["rgb_overlay_google_coke_can_real_eval_1"],
    ),
    ("google_robot_pick_coke_can", "va"): (
        [folder.format(pose) for pose in POSES for folder in CAN],
        ["rgb_overlay_None"],
    ),
    ("google_robot_move_near", "vm"): (
        [
            "google_pick_coke_can_1_v4/MoveNearGoogleBakedTexInScene-v0"
            f"_urdf_version_{arm}_baked_except_bpb_orange"
            for arm in ARMS
        ],
        ["rgb_overlay_google_move_near_real_eval_1"],
    ),
    ("google_robot_move_near", "va"): (NEAR, ["rgb_overlay_None"]),
    ("google_robot_open_drawer", "vm"): (
        [f"{PHOTOGRAPHED.format(env)}_urdf_version_{arm}" for env in OPEN for arm in ARMS],
        ["rgb_overlay_open_drawer"],
    ),
    ("google_robot_open_drawer", "va"): (
        [folder.format(env) for env in OPEN for folder in DRAWER],
        ["rgb_overlay_None"],
    ),
    ("google_robot_place_apple_in_closed_top_drawer", "vm"): (
        [f"{PHOTOGRAPHED.format(APPLE)}_urdf_version_{arm}_model_ids_baked_apple_v2" for arm in ARMS],
        ["rgb_overlay_open_drawer", "apple"],
    ),
    ("google_robot_place_apple_in_closed_top_drawer", "va"): (
        [f"{folder.format(APPLE)}_model_ids_apple" for folder in DRAWER],
        ["rgb_overlay_None", "apple"],
    ),
}
BRIDGE = {
    "widowx_spoon_on_towel": "bridge_table_1_v1/PutSpoonOnTableClothInScene-v0",
    "widowx_carrot_on_plate": "bridge_table_1_v1/PutCarrotOnPlateInScene-v0",
    "widowx_stack_cube": "bridge_table_1_v1/StackGreenCubeOnYellowCubeBakedTexInScene-v0",
    "widowx_put_eggplant_in_basket": "bridge_table_1_v2/PutEggplantInBasketScene-v0",
}


def stats(folder: Path, required=(), yes="success", no="failure") -> list[int]:
    """1 and 0 for every name below the folder that holds all `required`, by what else it holds."""
    assert folder.is_dir(), folder
    found = []
    for path in folder.rglob("*.mp4"):
        if all(word in str(path) for word in required):
            if yes in path.stem:
                found.append(1)
            elif no in path.stem:
                found.append(0)
    return found


def mean(values):
    return sum(values) / len(values)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    root = tmp_path_factory.mktemp("export")
    write_run(root / "run", simpler_records((*WIDOWX, *GOOGLE)))
    report = read_report(root / "run")
    return report, export_simpler(report, root / "results")


@pytest.mark.parametrize(("task", "setting"), FOLDERS)
def test_the_published_scripts_find_the_same_rates(exported, task, setting):
    report, told = exported
    folders, required = FOLDERS[task, setting]
    rates = []
    for folder in folders:
        scene, env = folder.split("/")
        rates.append(mean(stats(told.folder / "stage2" / scene / G / env, required)))
    wanted = {"vm": "visual-matching", "va": "variant-aggregation"}[setting]
    (ours,) = (m for m in report.evaluations[0].means if (m.task, m.setting) == (task, wanted))
    assert mean(rates) == pytest.approx(ours.last.value)
    assert 0 < ours.last.value < 1


@pytest.mark.parametrize("task", WIDOWX)
def test_widowx_successes_and_partial_successes_are_read_back(exported, task):
    report, told = exported
    scene, env = BRIDGE[task].split("/")
    overlay = "rgb_overlay_bridge_sink" if "eggplant" in task else "rgb_overlay_bridge_real_eval_1"
    folder = told.folder / "stage2" / scene / CONTROL_MODES["widowx"] / env
    found = stats(folder, [overlay], "success_obj_episode", "failure_obj_episode")
    grasped = stats(folder, [overlay], "is_src_obj_grasped_True", "is_src_obj_grasped_False")
    (ours,) = (t for t in report.evaluations[0].tasks if t.task == task)
    assert (len(found), sum(found)) == (24, ours.successes)
    assert sum(grasped) == ours.partial["is_src_obj_grasped"].ever.hits


def test_every_name_is_listed_and_counted(exported):
    _, told = exported
    names = (told.folder / "names.txt").read_text().splitlines()
    assert len(names) == len(set(names)) == told.episodes == 2682
    assert told.films == 0
    assert sorted(names) == names
    assert all((told.folder / name).is_file() for name in names[::100])


def test_a_name_has_all_its_parts():
    made = simpler_records(["widowx_put_eggplant_in_basket"])[3]
    made = replace(made, success=True, info_ever={"is_src_obj_grasped": True, "failure_seen": False})
    assert str(simpler_name(made)) == (
        "stage2/bridge_table_1_v2/arm_pd_ee_target_delta_pose_align2_gripper_pd_joint_pos/"
        "PutEggplantInBasketScene-v0/rob_0.127_0.06_rot_0.000_-0.000_3.142_rgb_overlay_bridge_sink/"
        "success_obj_episode_3_is_src_obj_grasped_True.mp4"
    )


def test_our_names_of_flags_become_simplerenvs():
    made = simpler_records(["widowx_stack_cube"])[0]
    made = replace(made, success=False, info_ever={"grasped": True, "grasped_5_steps": False})
    assert simpler_name(made).stem == "failure_obj_episode_0_consecutive_grasp_False_is_src_obj_grasped_True"


def test_films_and_plots_come_along_under_their_new_names(tmp_path):
    made = simpler_records(["widowx_stack_cube"])[:2]
    made[1] = replace(made[1], video="videos/widowx_stack_cube/ep0001-failure.mp4")
    run = write_run(tmp_path / "run", made)
    for suffix, content in (("mp4", b"film"), ("png", b"plot")):
        file = run / made[1].video.replace("mp4", suffix)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    told = export_simpler(read_report(run), tmp_path / "results")
    assert (told.episodes, told.films) == (2, 1)
    contents = {path.stem.split("_is_src")[0][8:]: path.read_bytes() for path in told.folder.rglob("*.mp4")}
    assert contents == {"obj_episode_0": b"", "obj_episode_1": b"film"}
    (plot,) = told.folder.rglob("actions/*.png")
    assert plot.read_bytes() == b"plot"


def test_seeds_are_checkpoints_of_their_own(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / "run" / f"s{seed}", simpler_records(["widowx_stack_cube"], seed=seed))
    told = export_simpler(read_report(tmp_path / "run"), tmp_path / "results")
    assert sorted(path.name for path in told.folder.iterdir()) == [
        "names.txt",
        "stage2_seed_0",
        "stage2_seed_1",
    ]
    assert told.episodes == 48


def test_errors_and_other_simulators_are_left_out(tmp_path):
    made = simpler_records(["widowx_stack_cube"])[:3]
    write_run(tmp_path / "run", [replace(made[0], error="lost"), *made[1:], record(0)])
    told = export_simpler(read_report(tmp_path / "run"), tmp_path / "results")
    assert (told.episodes, told.left_out) == (2, 2)
    assert "2 left out" in told.in_words()


def test_nothing_to_export_and_a_folder_in_use_are_refused(tmp_path):
    report = read_report(write_run(tmp_path / "run", [record(0)]))
    with pytest.raises(StairError, match="none of 1 episodes"):
        export_simpler(report, tmp_path / "results")
    (tmp_path / "used").mkdir()
    with pytest.raises(UsageError, match="exists"):
        export_simpler(report, tmp_path / "used")
    assert not (tmp_path / "results").exists()


def test_two_evaluations_of_one_policy_are_not_mixed(tmp_path):
    for name in ("a", "b"):
        run = write_run(tmp_path / "run" / name, simpler_records(["widowx_stack_cube"]))
        append_line(run / "episodes" / "note.jsonl", vars(record(0)))
    with pytest.raises(StairError, match="twice under one name"):
        export_simpler(read_report(tmp_path / "run"), tmp_path / "results")
    assert not (tmp_path / "results").exists()
