import json
import os

import numpy as np
import pytest

from stair.data.rlds import RldsFolder
from stair.data.rlds_features import (
    features_tree,
    fractal_features,
    manipulation_features,
    read_features_tree,
)
from stair.data.rlds_writer import RldsWriter
from stair.data.transforms import decode_image
from stair.errors import StairError, UsageError
from tests.data.episodes import LENGTHS, make_steps, write_tabletop
from tools.made_fractal import make_episode, tiny_jpeg, write_fractal


def test_what_is_written_is_read_again(tmp_path):
    folder = RldsFolder.open(write_tabletop(tmp_path, image_encoding="png"))
    raws = {int(r.values["episode_metadata/episode_id"][0]): r for r in folder.episodes("train")}
    assert sorted(raws) == list(range(len(LENGTHS)))
    for number, length in enumerate(LENGTHS):
        steps = make_steps(length, number)
        raw = raws[number]
        np.testing.assert_array_equal(raw.floats("steps/action", 7), [s["action"] for s in steps])
        np.testing.assert_array_equal(
            raw.floats("steps/observation/state", 7), [s["observation"]["state"] for s in steps]
        )
        assert raw.values["steps/is_last"].tolist() == [0] * (length - 1) + [1]
        assert raw.spans("steps/language_instruction")[0].startswith(b"Put the red block")
        for t, encoded in enumerate(raw.spans("steps/observation/image_0")):
            np.testing.assert_array_equal(decode_image(encoded), steps[t]["observation"]["image_0"])


def test_image_spans_and_record_offset_point_into_the_file(tmp_path):
    folder = RldsFolder.open(write_tabletop(tmp_path))
    for raw in folder.episodes("train"):
        data = folder.shards("train")[raw.shard].path.read_bytes()
        spans = raw.spans("steps/observation/image_0")
        for t, (start, length) in enumerate(spans.spans):
            assert data[raw.offset + start : raw.offset + start + length] == spans[t]


def test_jpegs_keep_full_colour_resolution(tmp_path):
    import simplejpeg

    raw = next(RldsFolder.open(write_tabletop(tmp_path)).episodes("train"))
    assert simplejpeg.decode_jpeg_header(raw.spans("steps/observation/image_0")[0])[3] == "444"


def test_images_that_are_encoded_already_are_stored_as_they_are(tmp_path):
    steps = make_steps(3, 0)
    for t, step in enumerate(steps):
        step["observation"]["image_0"] = b"\xff\xd8 not ours %d" % t
    features = manipulation_features(24, 24)
    folder = tmp_path / "x" / "1.0.0"
    with RldsWriter(folder, name="x", features=features, split_shards={"train": 1}) as writer:
        writer.add("train", steps, {"episode_id": 0, "file_path": ""})
    raw = next(RldsFolder.open(folder).episodes("train"))
    assert list(raw.spans("steps/observation/image_0")) == [b"\xff\xd8 not ours %d" % t for t in range(3)]


def test_shard_names_and_lengths_are_those_of_tfds(tmp_path):
    folder = write_tabletop(tmp_path, (3, 3, 3), shards=2)
    names = sorted(p.name for p in folder.iterdir())
    assert names == [
        "dataset_info.json",
        "features.json",
        "tabletop-train.tfrecord-00000-of-00002",
        "tabletop-train.tfrecord-00001-of-00002",
    ]
    split = json.loads((folder / "dataset_info.json").read_text())["splits"][0]
    assert split["shardLengths"] == ["2", "1"]
    payloads = sum((folder / name).stat().st_size for name in names[2:]) - 3 * 16
    assert split["numBytes"] == str(payloads)


def test_more_shards_than_episodes_leave_no_empty_files(tmp_path):
    folder = write_tabletop(tmp_path, (4,), shards=5)
    assert [s.path.name for s in RldsFolder.open(folder).shards("train")] == [
        "tabletop-train.tfrecord-00000-of-00001"
    ]
    assert len(list(folder.iterdir())) == 3


def test_the_features_file_of_the_real_bridge_is_written_to_the_letter(bridge):
    real = json.loads((bridge / "bridge_orig/1.0.0/features.json").read_text())
    assert features_tree(read_features_tree(real), "jpeg") == real


def test_fractal_is_written_with_what_stands_beside_its_steps(tmp_path):
    folder = RldsFolder.open(write_fractal(tmp_path, (4, 7, 9), height=32, width=40))
    assert folder.features == fractal_features(32, 40)
    assert {"aspects/success", "attributes/env_name"} <= folder.features.episode.keys()
    assert not folder.features.metadata
    names = {f"steps/{n}" for n in folder.features.steps} | set(folder.features.episode)
    starts = []
    for raw in folder.episodes("train"):
        assert raw.values.keys() == names
        length = len(raw.values["steps/is_first"])
        for name, feature in folder.features.steps.items():
            assert len(raw.values[f"steps/{name}"]) == length * int(np.prod(feature.shape)) ** (
                feature.kind == "tensor"
            )
        images = raw.spans("steps/observation/image")
        starts.append(images[0][:2])
        assert {decode_image(encoded).shape for encoded in images} == {(32, 40, 3)}
    assert sorted(starts) == [b"\x89P", b"\xff\xd8", b"\xff\xd8"]


def test_columns_and_steps_make_the_same_record(tmp_path):
    columns = make_episode(3, 5, [tiny_jpeg()])
    features = fractal_features(16, 16)
    steps = []
    for t in range(5):
        step: dict = {"observation": {}, "action": {}}
        for name, feature in features.steps.items():
            group, _, inner = name.rpartition("/")
            value = columns[f"steps/{name}"][t]
            (step[group] if group else step)[inner] = (
                np.reshape(value, feature.shape) if feature.kind == "tensor" else value
            )
        steps.append(step)
    episode = {name: columns[name][0] for name in features.episode}
    for folder in ("a", "b"):
        with RldsWriter(
            tmp_path / folder / "1", name="x", features=features, split_shards={"t": 1}
        ) as writer:
            if folder == "a":
                writer.add("t", steps, {}, episode)
            else:
                writer.add_columns("t", columns)
    one, other = (next(RldsFolder.open(tmp_path / folder / "1").episodes("t")) for folder in ("a", "b"))
    assert one.values.keys() == other.values.keys()
    for name, value in one.values.items():
        assert list(value) == list(other.values[name]), name


def write(tmp_path, change):
    steps = make_steps(3, 0)
    change(steps[1])
    folder = tmp_path / "x" / "1.0.0"
    with RldsWriter(
        folder, name="x", features=manipulation_features(24, 24), split_shards={"train": 1}
    ) as writer:
        writer.add("train", steps, {"episode_id": 0, "file_path": ""})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s.pop("action"), "steps 1: 'action' is missing"),
        (lambda s: s.update(extra=1), "steps 1: 'extra' is not among the features"),
    ],
)
def test_values_that_are_no_features_are_refused_and_leave_nothing(tmp_path, change, told):
    with pytest.raises(StairError, match=told):
        write(tmp_path, change)
    assert list((tmp_path / "x").iterdir()) == []


def test_an_array_of_another_shape_is_refused_by_name(tmp_path):
    steps = [{**step, "action": np.zeros(6, np.float32)} for step in make_steps(3, 0)]
    with (
        pytest.raises(StairError, match=r"steps/action is float32 \[6\]"),
        RldsWriter(
            tmp_path / "y" / "1.0.0",
            name="y",
            features=manipulation_features(24, 24),
            split_shards={"train": 1},
        ) as writer,
    ):
        writer.add("train", steps, {"episode_id": 0, "file_path": ""})


def test_a_writer_that_is_interrupted_leaves_no_folder(tmp_path):
    def write_until_interrupted():
        features = manipulation_features(24, 24)
        with RldsWriter(
            tmp_path / "x" / "1.0.0", name="x", features=features, split_shards={"train": 1}
        ) as writer:
            writer.add("train", make_steps(3, 0), {"episode_id": 0, "file_path": ""})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_until_interrupted()
    assert list((tmp_path / "x").iterdir()) == []


def test_what_a_killed_writer_of_the_same_number_left_is_in_nobodys_way(tmp_path):
    (tmp_path / "tabletop" / f".1.0.0.writing-{os.getpid()}").mkdir(parents=True)
    folder = write_tabletop(tmp_path)
    assert len(list(RldsFolder.open(folder).episodes("train"))) == len(LENGTHS)


def test_an_existing_folder_is_not_overwritten(tmp_path):
    folder = write_tabletop(tmp_path)
    with pytest.raises(StairError, match="exists"):
        write_tabletop(tmp_path)
    assert len(list(RldsFolder.open(folder).episodes("train"))) == len(LENGTHS)


def test_an_unknown_split_answers_with_the_known_ones(tmp_path):
    folder = RldsFolder.open(write_tabletop(tmp_path))
    with pytest.raises(UsageError, match="did you mean 'train'"):
        folder.shards("trian")


def test_a_record_too_few_is_told(tmp_path):
    path = write_tabletop(tmp_path) / "dataset_info.json"
    path.write_text(path.read_text().replace('"4"', '"5"'))
    folder = RldsFolder.open(path.parent)
    with pytest.raises(StairError, match=r"4 records up to byte .* says 5"):
        list(folder.episodes("train"))
    lost = []
    assert len(list(folder.episodes("train", on_corrupt=lambda fault, n: lost.append(n)))) == 8
    assert lost == [1, 1]


def test_a_missing_shard_stops_or_is_counted_with_all_its_episodes(tmp_path):
    folder = RldsFolder.open(write_tabletop(tmp_path))
    folder.shards("train")[0].path.unlink()
    with pytest.raises(StairError, match=r"cannot read .*00000-of-00002"):
        list(folder.episodes("train"))
    lost = []
    assert len(list(folder.episodes("train", on_corrupt=lambda fault, n: lost.append(n)))) == 4
    assert lost == [4]


def test_a_folder_without_its_json_says_what_belongs_there(tmp_path):
    with pytest.raises(StairError, match=r"cannot read .*dataset_info.json"):
        RldsFolder.open(tmp_path)
