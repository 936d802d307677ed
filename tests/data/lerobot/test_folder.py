"""LeRobot folders give the samples that RLDS folders of the same episodes give."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stair.data.config import ClipConfig, DataConfig, ImageConfig, InputConfig, LeRobotConfig
from stair.data.corpus import Corpus
from stair.data.index import open_index
from stair.data.lerobot.find import find_lerobot
from stair.data.lerobot.folder import LeRobotFolder
from stair.data.loader import Loader
from stair.errors import StairError, UsageError
from tests.data.lerobot.made import LENGTHS, SIZE, psnr, write_lerobot, write_rlds
from tools.editions.to_lerobot import convert
from tools.made_fractal import write_fractal

pa = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq  # noqa: E402

VERSIONS = ("v2.0", "v2.1", "v3.0")
INPUTS = InputConfig(image=ImageConfig(48), clip=ClipConfig(image_size=SIZE))
NUMBERS = ("token_ids", "token_mask", "actions", "action_mask", "proprio", "waypoints", "positions")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Folders by (version, codec), each written once; tests that change one copy it."""
    root = tmp_path_factory.mktemp("editions")
    made: dict[tuple[str, str], Path] = {}

    def edition(version: str, codec: str) -> Path:
        if (version, codec) not in made:
            made[version, codec] = write_lerobot(root / f"{version}-{codec}", version, codec)
        return made[version, codec]

    return edition


@pytest.fixture
def broken(written, tmp_path):
    """A copy of a small edition that a test may break, and a function that opens its index."""

    def copy(version: str, codec: str) -> Path:
        folder = tmp_path / "tabletop_lerobot"
        shutil.copytree(written(version, codec), folder, ignore=shutil.ignore_patterns("*.npz", ".*"))
        return folder

    return copy


def corpus(root: Path, format: str, mixture: str = "tabletop", inputs: InputConfig = INPUTS) -> Corpus:
    return Corpus.open(DataConfig(root=str(root), mixture=mixture, format=format, seed=5), inputs)  # type: ignore[arg-type]


def both(rlds: Path, lerobot: Path, mixture: str = "tabletop", inputs: InputConfig = INPUTS):
    """All samples of an epoch from either."""
    one, other = corpus(rlds, "rlds", mixture, inputs), corpus(lerobot, "lerobot", mixture, inputs)
    assert len(one) == len(other) > 0
    positions = np.arange(len(one))
    return one.batch(positions), other.batch(positions)


def assert_same_numbers(one, other):
    for name in NUMBERS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_edition_with_image_columns_gives_exactly_the_samples_of_rlds(written, version):
    folder = written(version, "jpeg")
    rlds, lerobot = both(folder.parent / "rlds_of_it", folder.parent)
    for name, value in vars(rlds).items():
        np.testing.assert_array_equal(value, getattr(lerobot, name), err_msg=name)


@pytest.mark.parametrize(("version", "codec"), [("v2.0", "h264"), ("v2.1", "av1"), ("v3.0", "av1")])
def test_an_edition_with_videos_gives_equal_numbers_and_images_within_the_codecs_error(
    written, version, codec
):
    folder = written(version, codec)
    rlds, lerobot = both(folder.parent / "rlds_of_it", folder.parent)
    assert_same_numbers(rlds, lerobot)
    for name in ("images", "clips"):
        ours, theirs = getattr(rlds, name).numpy(), getattr(lerobot, name).numpy()
        worst = min(psnr(a, b) for a, b in zip(ours, theirs, strict=True))
        assert worst > 27, name
    # A neighbouring frame, three pixels on, is much further away than the codec's error.
    assert rlds.clips is not None
    assert lerobot.clips is not None
    other = rlds.clips.numpy()[:, 1], lerobot.clips.numpy()[:, 2]
    apart = [psnr(a, b) for a, b in zip(*other, strict=True) if (a != b).any()]
    assert np.median(apart) < 22


@pytest.mark.parametrize(("version", "codec"), [("v2.1", "jpeg"), ("v3.0", "jpeg"), ("v2.1", "av1")])
def test_real_bridge_as_lerobot_gives_the_samples_of_rlds(bridge, tmp_path, version, codec):
    convert(bridge / "bridge_orig" / "1.0.0", tmp_path / "bridge_orig_lerobot", version=version, codec=codec)
    rlds, lerobot = both(bridge, tmp_path, "bridge_orig")
    assert_same_numbers(rlds, lerobot)
    assert len(rlds) == 200
    if codec == "jpeg":
        np.testing.assert_array_equal(rlds.images, lerobot.images)
        np.testing.assert_array_equal(rlds.clips, lerobot.clips)
    else:
        errors = [psnr(a, b) for a, b in zip(rlds.images.numpy(), lerobot.images.numpy(), strict=True)]
        assert min(errors) > 27


def test_fractal_with_its_quaternions_gives_the_samples_of_rlds(tmp_path):
    write_fractal(tmp_path / "rlds", (7, 12, 4))
    source = tmp_path / "rlds" / "fractal20220817_data" / "0.1.0"
    convert(source, tmp_path / "fractal20220817_data_0.1.0_lerobot", version="v3.0", codec="jpeg")
    rlds, lerobot = both(tmp_path / "rlds", tmp_path, "fractal20220817_data")
    assert_same_numbers(rlds, lerobot)
    np.testing.assert_array_equal(rlds.clips, lerobot.clips)
    indices = [open_index(root, "fractal20220817_data", "train") for root in (tmp_path / "rlds", tmp_path)]
    np.testing.assert_array_equal(indices[0].proprio, indices[1].proprio)
    assert indices[1].proprio.shape[1] == 8


def test_worker_processes_decode_what_the_process_itself_would(written):
    whole = corpus(written("v2.0", "h264").parent, "lerobot")
    batches = [iter(Loader(whole, 6, workers=workers)) for workers in (0, 1)]
    for _ in range(3):
        here, there = (next(source) for source in batches)
        np.testing.assert_array_equal(here.clips, there.clips)
        np.testing.assert_array_equal(here.positions, there.positions)


def test_unlabelled_episodes_are_left_out_and_counted_alike(written):
    folder = written("v3.0", "jpeg")
    rlds = open_index(folder.parent / "rlds_of_it", "tabletop", "train")
    lerobot = open_index(folder.parent, "tabletop", "train")
    assert rlds.dropped == lerobot.dropped
    assert lerobot.dropped.unlabelled == 2
    assert rlds.instructions == lerobot.instructions
    np.testing.assert_array_equal(np.diff(rlds.starts), np.diff(lerobot.starts))


def test_the_second_time_comes_from_the_cache_even_where_the_folder_was_moved(broken, tmp_path, monkeypatch):
    folder = broken("v3.0", "jpeg")
    first = open_index(tmp_path, "tabletop", "train")
    os.rename(tmp_path, f"{tmp_path}-moved")
    from stair.data.lerobot import index

    monkeypatch.setattr(index.LeRobotSource, "build", None)
    second = open_index(f"{tmp_path}-moved", "tabletop", "train")
    np.testing.assert_array_equal(first.frames, second.frames)
    assert first.storage == second.storage
    assert all(f"{tmp_path.name}-moved/{folder.name}" in file for file in second.files)
    os.rename(f"{tmp_path}-moved", tmp_path)


@pytest.mark.parametrize("name", ["bridge_orig_lerobot", "bridge_orig_1.0.0_lerobot", "bridge_orig"])
def test_the_names_of_ipec_and_of_starvla_are_found(tmp_path, name):
    (tmp_path / name / "meta").mkdir(parents=True)
    (tmp_path / name / "meta" / "info.json").write_text("{}")
    assert find_lerobot(tmp_path, "bridge_orig") == tmp_path / name
    assert find_lerobot(tmp_path, "bridge_orig", "lerobot") == tmp_path / name
    assert find_lerobot(tmp_path, "bridge_orig", "rlds") is None


def test_where_both_lie_rlds_is_taken_unless_lerobot_is_asked_for(tmp_path):
    write_rlds(tmp_path)
    (tmp_path / "tabletop_lerobot" / "meta").mkdir(parents=True)
    (tmp_path / "tabletop_lerobot" / "meta" / "info.json").write_text("{}")
    assert find_lerobot(tmp_path, "tabletop") is None
    assert find_lerobot(tmp_path, "tabletop", "lerobot") == tmp_path / "tabletop_lerobot"


def test_a_data_set_of_any_name_is_read_by_a_mapping_from_the_settings(broken, tmp_path):
    folder = broken("v2.1", "jpeg")
    folder.rename(tmp_path / "kitchen")
    (tmp_path / "kitchen" / "meta" / "modality.json").unlink()
    info = json.loads((tmp_path / "kitchen" / "meta" / "info.json").read_text())
    for name in ("observation.state", "action"):
        info["features"][name]["names"] = None
    (tmp_path / "kitchen" / "meta" / "info.json").write_text(json.dumps(info))
    data = DataConfig(root=str(tmp_path), mixture="kitchen")
    with pytest.raises(UsageError, match=r"cannot tell what observation.state means"):
        Corpus.open(data, INPUTS)
    state = tuple(f"observation.state[{n}]" for n in range(7))
    action = (*(f"action[{n}]" for n in range(6)), "1-action[6]")
    data = replace(data, lerobot=LeRobotConfig("observation.images.image_0", state, action))
    index = Corpus.open(data, INPUTS).parts[0].index
    with_names = open_index(folder.parent, "kitchen", "train", lerobot=data.lerobot)
    rlds = pq.read_table(tmp_path / "kitchen/data/chunk-000/episode_000000.parquet")
    grippers = np.array(rlds["action"].to_pylist())[:, 6]
    np.testing.assert_array_equal(index.actions[: len(grippers), 6], 1 - grippers)
    np.testing.assert_array_equal(with_names.actions, index.actions)


def test_a_split_is_the_episodes_that_info_names(broken, tmp_path):
    folder = broken("v2.1", "jpeg")
    path = folder / "meta" / "info.json"
    info = json.loads(path.read_text())
    info["splits"] = {"train": "0:2", "val": "2:5"}
    path.write_text(json.dumps(info))
    sizes = {split: len(open_index(tmp_path, "tabletop", split)) for split in ("train", "val", "all")}
    assert sizes["train"] + sizes["val"] == sizes["all"] > sizes["val"] > 0
    with pytest.raises(UsageError, match="unknown split"):
        open_index(tmp_path, "tabletop", "test")


# --- what is refused ------------------------------------------------------------------------------------


def refused(root: Path, match: str, **how) -> StairError:
    with pytest.raises(StairError, match=match) as caught:
        open_index(root, "tabletop", "train", format="lerobot", **how)
    assert caught.value.hint
    return caught.value


def test_a_missing_info_is_refused(broken, tmp_path):
    (broken("v2.1", "jpeg") / "meta" / "info.json").unlink()
    refused(tmp_path, r"tabletop_lerobot has no meta/info.json")
    with pytest.raises(StairError, match=r"has no meta/info.json"):
        open_index(tmp_path, "tabletop", "train")


def test_no_folder_at_all_names_those_that_would_do(tmp_path):
    error = refused(tmp_path, "no LeRobot data set tabletop")
    assert "tabletop_1.0.0_lerobot" in error.hint


def test_an_unknown_version_is_refused(broken, tmp_path):
    path = broken("v2.1", "jpeg") / "meta" / "info.json"
    path.write_text(path.read_text().replace("v2.1", "v1.6"))
    error = refused(tmp_path, "codebase_version is 'v1.6'")
    assert "v2.0, v2.1, v3.0" in error.hint


def test_missing_and_cut_tables_are_refused(broken, tmp_path):
    table = broken("v2.1", "jpeg") / "data/chunk-000/episode_000002.parquet"
    table.write_bytes(table.read_bytes()[:200])
    refused(tmp_path, r"episode 2: cannot read .*episode_000002.parquet")
    table.unlink()
    refused(tmp_path, r"episode 2: cannot read .*episode_000002.parquet")


def test_another_number_of_rows_than_meta_says_is_refused(broken, tmp_path):
    folder = broken("v2.1", "jpeg")
    path = folder / "data/chunk-000/episode_000003.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(0, table.num_rows - 1), path)
    refused(tmp_path, rf"episode 3: .* {table.num_rows - 1} rows .* meta says {table.num_rows} steps")


@pytest.mark.parametrize("feature", ["action", "observation.state"])
def test_a_number_that_is_none_is_refused_or_counted(broken, tmp_path, feature, capsys):
    path = broken("v2.1", "jpeg") / "data/chunk-000/episode_000000.parquet"
    table = pq.read_table(path)
    rows = table[feature].to_pylist()
    rows[3][2] = float("nan")
    number = table.schema.get_field_index(feature)
    pq.write_table(table.set_column(number, feature, pa.array(rows, table.schema.field(feature).type)), path)
    refused(tmp_path, r"episode 0: .*episode_000000.parquet: .* 2 of step 3 is nan")
    index = open_index(tmp_path, "tabletop", "train", skip_corrupt=True)
    assert index.dropped.corrupt == 1
    assert "skipped: episode 0" in capsys.readouterr().err


def test_a_task_that_meta_does_not_know_is_refused(broken, tmp_path):
    path = broken("v2.1", "jpeg") / "meta" / "tasks.jsonl"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    refused(tmp_path, r"task_index \d is not among the 1 of meta/tasks")


def test_a_missing_video_is_refused_before_training(broken, tmp_path):
    video = broken("v2.0", "h264") / "videos/chunk-000/observation.images.image_0/episode_000000.mp4"
    video.unlink()
    refused(tmp_path, r"episode 0: .*episode_000000.mp4 is missing")


def test_a_video_with_another_number_of_frames_is_refused_with_both_numbers(broken, tmp_path):
    folder = broken("v2.0", "h264") / "videos/chunk-000/observation.images.image_0"
    shutil.copy(folder / "episode_000000.mp4", folder / "episode_000002.mp4")
    frames = json.loads((tmp_path / "tabletop_lerobot/meta/episodes.jsonl").read_text().splitlines()[2])
    refused(tmp_path, rf"episode_000002.mp4 has \d+ frames, .* have {frames['length']} steps")


def test_a_pointer_in_place_of_a_video_is_refused(broken, tmp_path):
    video = broken("v2.0", "h264") / "videos/chunk-000/observation.images.image_0/episode_000000.mp4"
    video.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n")
    error = refused(tmp_path, r"cannot decode it")
    assert "git-lfs" in error.hint


def test_timestamps_that_are_no_whole_frames_are_refused(broken, tmp_path):
    path = broken("v3.0", "av1") / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    name = "videos/observation.images.image_0/to_timestamp"
    times = table[name].to_pylist()
    times[1] += 0.5
    pq.write_table(table.set_column(table.schema.get_field_index(name), name, pa.array(times)), path)
    refused(tmp_path, r"episode 1 is observation.images.image_0 from .* at 5 fps, and has \d+ steps")


def test_an_unknown_camera_names_those_there_are(broken, tmp_path):
    broken("v2.1", "jpeg")
    error = refused(tmp_path, "no camera 'wrist'", lerobot=LeRobotConfig(image="wrist"))
    assert "observation.images.image_0" in error.hint


def test_rows_are_found_by_their_episode_and_not_by_the_file_that_meta_names(broken, tmp_path):
    folder = broken("v3.0", "jpeg")
    expected = open_index(tmp_path, "tabletop", "train")
    path = folder / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    name = "data/file_index"
    wrong = pa.array([7] * table.num_rows, pa.int64())
    pq.write_table(table.set_column(table.schema.get_field_index(name), name, wrong), path)
    found = open_index(tmp_path, "tabletop", "train")
    np.testing.assert_array_equal(found.actions, expected.actions)


def test_a_folder_says_what_it_has(written):
    folder = LeRobotFolder.open(written("v3.0", "av1"))
    assert (folder.version, folder.fps) == ("v3.0", 5.0)
    assert sorted(folder.lengths.tolist()) == sorted(LENGTHS)
    assert folder.cameras == {"observation.images.image_0": "video"}
