"""Files of a task are followed to what they name; what is missing, empty or changed is told by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stair.errors import StairError
from stair.sim.assets import (
    BRIDGE,
    FILTER,
    MANIFEST,
    NEEDS,
    ROBOT,
    all_assets,
    check_assets,
    needed_files,
    needs_assets,
)

TASK = "widowx_carrot_on_plate"
CARROT = f"{BRIDGE}/custom/models/bridge_carrot_generated_modified"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An asset folder in which all files of all tasks have some content."""
    texts = {
        ROBOT: '<mesh filename="meshes/base.obj"/><mesh filename="meshes/base.stl"/>',
        "data/robots/widowx/meshes/base.obj": "mtllib base.mtl\nv 0 0 0",
        "data/robots/widowx/meshes/base.mtl": "map_Kd ../black.png",
        "data/robots/widowx/meshes/base.stl": "solid",
        "data/robots/widowx/black.png": "picture",
    }
    for needs in NEEDS.values():
        texts[f"{BRIDGE}/custom/{needs.sizes}"] = "{}"
        texts[f"{BRIDGE}/stages/{needs.stage}"] = "glb"
        texts[f"{BRIDGE}/real_inpainting/{needs.photo}"] = "photo"
        for model in needs.models:
            texts[f"{BRIDGE}/custom/models/{model}/collision.obj"] = "mtllib nowhere.mtl"
            texts[f"{BRIDGE}/custom/models/{model}/textured.dae"] = (
                "<init_from>Image_0_png</init_from><init_from>Image_0.png</init_from>"
            )
            texts[f"{BRIDGE}/custom/models/{model}/Image_0.png"] = model
    for path, text in texts.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def test_files_are_followed_to_what_they_name(folder: Path):
    needed = set(needed_files(folder, TASK))
    assert {
        "data/robots/widowx/black.png",
        "data/robots/widowx/meshes/base.stl",
        f"{CARROT}/Image_0.png",
    } < needed
    assert f"{CARROT}/nowhere.mtl" not in needed


@pytest.mark.parametrize(
    "path", [ROBOT, "data/robots/widowx/black.png", f"{CARROT}/Image_0.png", f"{CARROT}/textured.dae"]
)
def test_a_missing_file_is_named_with_how_to_get_it(folder: Path, path: str):
    (folder / path).unlink()
    with pytest.raises(StairError) as caught:
        check_assets(folder, [TASK])
    assert path in caught.value.what
    assert "download_asset" in caught.value.hint


def test_an_empty_file_is_as_good_as_missing(folder: Path):
    (folder / f"{CARROT}/collision.obj").write_bytes(b"")
    with pytest.raises(StairError, match=r"collision\.obj in .* is empty"):
        check_assets(folder, [TASK])


def test_the_digest_is_of_the_contents_that_the_tasks_read(folder: Path):
    before = check_assets(folder, [TASK]).digest
    (folder / f"{BRIDGE}/custom/models/eggplant/Image_0.png").write_text("another")
    assert check_assets(folder, [TASK]).digest == before
    (folder / f"{CARROT}/Image_0.png").write_text("another")
    assert check_assets(folder, [TASK]).digest != before


def test_the_digest_of_a_folder_is_the_same_whichever_tasks_are_played(folder: Path):
    whole = all_assets(folder)
    assert whole == check_assets(folder, NEEDS)
    (folder / f"{BRIDGE}/custom/models/eggplant/Image_0.png").unlink()
    check_assets(folder, [TASK])  # goes on without what it does not need
    assert all_assets(folder).digest != whole.digest


def test_a_recorded_folder_may_not_change(folder: Path):
    def record(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "stair.sim.assets", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True)

    assert record("--record").returncode == 0
    assert CARROT + "/Image_0.png" in json.loads((folder / MANIFEST).read_text())["files"]
    check_assets(folder, NEEDS)
    (folder / f"{CARROT}/Image_0.png").write_text("another")
    with pytest.raises(StairError, match=r"Image_0\.png"):
        check_assets(folder, [TASK])
    assert record().returncode == 1
    assert record("--record").returncode == 0
    check_assets(folder, [TASK])


def test_a_damaged_manifest_is_told(folder: Path):
    (folder / MANIFEST).write_text("[]")
    with pytest.raises(StairError, match=MANIFEST):
        check_assets(folder, [TASK])


def test_whether_the_fingers_are_free_is_known(folder: Path):
    assert not check_assets(folder, [TASK]).has_filter
    (folder / FILTER).write_text("<robot/>")
    assert check_assets(folder, [TASK]).has_filter


def test_tasks_of_mani_skill_itself_need_nothing(tmp_path: Path):
    assert not needs_assets("maniskill_pick_cube")
    assert check_assets(tmp_path / "nowhere", ["maniskill_pick_cube"]).files == {}


def test_what_differs_from_the_published_files_is_named(folder: Path):
    assert f"{CARROT}/Image_0.png" in check_assets(folder, [TASK]).unpublished
    beside = Path(__file__).parents[2].parent / "shared" / "data"
    bundle = Path(os.environ.get("STAIR_TEST_DATA", beside)) / "widowx_assets"
    if not bundle.is_dir():
        pytest.skip(f"no WidowX assets at {bundle} (STAIR_TEST_DATA)")
    odd = check_assets(bundle, NEEDS).unpublished
    assert [Path(path).name for path in odd] == [
        "wx250s.urdf",
        "textured.obj",
        "bridge_table_1_v1.glb",
        "bridge_table_1_v2.glb",
    ]
