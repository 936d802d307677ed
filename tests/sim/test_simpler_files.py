"""Files are compared with the published ones before anything is built."""

from __future__ import annotations

import subprocess

import pytest

from stair.errors import StairError
from stair.sim.contents import git_id
from stair.sim.simpler_checksums import CHECKSUMS
from stair.sim.simpler_files import check_files, needed_files
from stair.sim.simpler_grid import find_start
from stair.sim.tasks import TASKS

CARROT = find_start("widowx_carrot_on_plate", "", 3)


@pytest.fixture
def folder(tmp_path):
    """A data folder for the carrot in which every file is a stand-in, and is listed as one."""
    for path in needed_files(CARROT):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    (tmp_path / "stand-ins.txt").write_text("\n".join(needed_files(CARROT)))
    return tmp_path


def test_a_start_needs_its_meshes_its_stage_and_its_photograph():
    assert needed_files(CARROT) == [
        "custom/info_bridge_custom_v0.json",
        "custom/models/bridge_carrot_generated_modified/Image_0.005.png",
        "custom/models/bridge_carrot_generated_modified/collision.obj",
        "custom/models/bridge_carrot_generated_modified/textured.dae",
        "custom/models/bridge_plate_objaverse_larger/collision.obj",
        "custom/models/bridge_plate_objaverse_larger/plate_texture.png",
        "custom/models/bridge_plate_objaverse_larger/textured.dae",
        "hab2_bench_assets/stages/bridge_table_1_v1.glb",
        "real_inpainting/bridge_real_eval_1.png",
    ]
    drawer = needed_files(find_start("google_robot_open_top_drawer", "va-station2", 0))
    assert "custom/mk_station2.urdf" in drawer
    assert "hab2_bench_assets/stages/frl_apartment_stage_simple.glb" in drawer
    assert not any(path.startswith("real_inpainting") for path in drawer)
    apple = needed_files(find_start("google_robot_place_apple_in_closed_top_drawer", "vm-arm0", 0))
    assert {path.split("/")[2] for path in apple if "models/" in path} == {
        "baked_apple_v2",
        "stone_tabletop.glb",
    }


def test_every_file_of_every_start_has_a_checksum_and_none_is_left_over():
    needed = {
        path
        for name, task in TASKS["simpler"].items()
        for variant in task.variants
        for number in range(task.layouts or 3)
        for path in needed_files(find_start(name, variant, number))
    }
    known = {f"{place}/{file}" for place, files in CHECKSUMS.items() for file in files}
    assert needed == known
    assert all(len(value) == 16 for files in CHECKSUMS.values() for value in files.values())


def test_checksums_are_gits(tmp_path):
    file = tmp_path / "some file"
    file.write_bytes(b"\x00\x01\r\n")
    told = subprocess.run(
        ["git", "hash-object", "--no-filters", file], capture_output=True, text=True, check=True
    )
    assert git_id(file) == told.stdout[:16]


def test_stand_ins_are_told_and_pass(folder):
    assert check_files(folder, CARROT) == needed_files(CARROT)


def test_other_files_than_the_published_ones_are_refused_unless_listed(folder):
    stage = "hab2_bench_assets/stages/bridge_table_1_v1.glb"
    listed = [path for path in needed_files(CARROT) if path != stage]
    (folder / "stand-ins.txt").write_text("\n".join(listed))
    with pytest.raises(StairError, match="other files than SimplerEnv published") as caught:
        check_files(folder, CARROT)
    assert stage in caught.value.what
    assert "custom" not in caught.value.what
    assert "stand-ins.txt" in caught.value.hint


def test_a_missing_file_is_missing_even_when_listed(folder):
    (folder / "real_inpainting/bridge_real_eval_1.png").unlink()
    with pytest.raises(StairError, match=r"lacks real_inpainting/bridge_real_eval_1\.png"):
        check_files(folder, CARROT)
