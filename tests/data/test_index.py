import os

import numpy as np
import pytest

from stair.data import rlds_index
from stair.data.frames import FrameReader
from stair.data.index import open_index
from stair.data.rlds import RldsFolder
from stair.data.rlds_features import manipulation_features
from stair.data.rlds_index import build_index
from stair.data.rlds_writer import RldsWriter
from stair.data.tfrecord import read_records
from stair.errors import StairError
from tests.data.episodes import LENGTHS, make_steps


def arrays(index):
    return {n: getattr(index, n) for n in ("actions", "proprio", "frames", "starts", "records", "words")}


def assert_same(one, other):
    for name, array in arrays(one).items():
        np.testing.assert_array_equal(array, getattr(other, name), err_msg=name)
    assert (one.files, one.instructions, one.dropped) == (other.files, other.instructions, other.dropped)


def test_every_frame_of_real_bridge_is_the_image_of_its_step(bridge):
    index = open_index(bridge, "bridge_orig", "train")
    reader = FrameReader(index.files)
    for number, raw in enumerate(RldsFolder.open(bridge / "bridge_orig" / "1.0.0").episodes("train")):
        episode = index.episode(number)
        images = list(raw.spans("steps/observation/image_0"))[1:-1]
        assert [reader.read(*frame) for frame in episode.frames.tolist()] == images
        assert episode.instruction == raw.spans("steps/language_instruction")[1].decode()
        assert episode.key == f"bridge_dataset-train.tfrecord-00000-of-00001#{number}"


def test_rows_are_the_steps_that_were_written(tabletop):
    index = open_index(tabletop, "tabletop", "train")
    assert np.diff(index.starts).tolist() == [*LENGTHS[0::2], *LENGTHS[1::2]]  # shard after shard
    steps = make_steps(LENGTHS[2], 2)
    np.testing.assert_array_equal(index.episode(1).actions, [s["action"] for s in steps])
    assert index.actions.dtype == np.float32
    assert index.frames.dtype == np.int64


def test_numbers_tell_the_order_of_writing_whatever_the_shards(tabletop):
    index = open_index(tabletop, "tabletop", "train")
    lengths = np.diff(index.starts)[np.argsort(index.numbers)]
    assert lengths.tolist() == list(LENGTHS)


def test_the_second_time_comes_from_the_cache_beside_the_data(tabletop, monkeypatch):
    built = open_index(tabletop, "tabletop", "train")
    assert (tabletop / "tabletop/1.0.0/stair-index-train.npz").is_file()
    monkeypatch.setattr(rlds_index, "build_index", None)
    assert_same(open_index(tabletop, "tabletop", "train"), built)


def test_a_read_only_folder_is_cached_elsewhere_and_left_alone(tabletop, monkeypatch, tmp_path):
    folder = tabletop / "tabletop" / "1.0.0"
    before = sorted(p.name for p in folder.iterdir())
    folder.chmod(0o555)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    built = open_index(tabletop, "tabletop", "train")
    folder.chmod(0o755)
    assert sorted(p.name for p in folder.iterdir()) == before
    assert len(list((tmp_path / "cache" / "stair").glob("index-tabletop-train-*.npz"))) == 1
    folder.chmod(0o555)
    monkeypatch.setattr(rlds_index, "build_index", None)
    assert_same(open_index(tabletop, "tabletop", "train"), built)


@pytest.mark.parametrize("change", ["touched", "damaged", "other format"])
def test_a_cache_that_does_not_fit_is_built_anew(tabletop, monkeypatch, change):
    built = open_index(tabletop, "tabletop", "train")
    cache = tabletop / "tabletop/1.0.0/stair-index-train.npz"
    if change == "touched":
        os.utime(built.files[0], ns=(1, 1))
    elif change == "damaged":
        cache.write_bytes(cache.read_bytes()[:300])
    else:
        monkeypatch.setattr(rlds_index, "FORMAT", 999)
    calls = []
    monkeypatch.setattr(rlds_index, "build_index", lambda *a, **k: calls.append(1) or build_index(*a, **k))
    assert_same(open_index(tabletop, "tabletop", "train"), built)
    assert calls == [1]


def test_episodes_without_words_are_left_out_and_counted(tmp_path, capsys):
    folder = tmp_path / "tabletop" / "1.0.0"
    with RldsWriter(
        folder, name="tabletop", features=manipulation_features(24, 24), split_shards={"train": 1}
    ) as writer:
        for number, words in enumerate(["lift", "", "push"]):
            writer.add("train", make_steps(4, number, words=words), {"episode_id": number, "file_path": ""})
    index = open_index(tmp_path, "tabletop", "train")
    assert index.dropped.unlabelled == 1
    assert index.instructions == ("lift", "push")
    assert len(index) == 8
    assert "left out: 1 unlabelled" in capsys.readouterr().err


def write_odd(root, change, number=2):
    """Four episodes of five steps, of which one was changed."""
    folder = root / "tabletop" / "1.0.0"
    features = manipulation_features(24, 24)
    with RldsWriter(folder, name="tabletop", features=features, split_shards={"train": 1}) as writer:
        for episode in range(4):
            steps = make_steps(5, episode, words="lift it")
            if episode == number:
                change(steps)
            writer.add("train", steps, {"episode_id": episode, "file_path": ""})


def put_nan(steps):
    steps[3]["action"][1] = np.nan


def put_infinity(steps):
    steps[4]["observation"]["state"][6] = np.inf


def put_byte_string(steps):
    for step in steps:
        step["language_instruction"] = "b'lift it'"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (put_nan, r"train.tfrecord-00000-of-00001: record 2: action 1 of step 3 is nan"),
        (put_infinity, r"record 2: proprio 6 of step 4 is inf"),
        (put_byte_string, r"record 2: the instruction reads b'lift it': a byte string"),
    ],
)
def test_what_cannot_be_meant_stops_with_its_place_or_is_counted(tmp_path, capsys, change, told):
    write_odd(tmp_path, change)
    with pytest.raises(StairError, match=told) as caught:
        open_index(tmp_path, "tabletop", "train")
    assert "data.skip_corrupt true" in caught.value.hint
    index = open_index(tmp_path, "tabletop", "train", skip_corrupt=True)
    assert (index.episodes, index.dropped.corrupt, index.instructions) == (3, 1, ("lift it",))
    assert np.isfinite(index.actions).all()
    assert "1 corrupt" in capsys.readouterr().err


def test_everything_counts_what_nobody_described_too(tmp_path):
    write_odd(tmp_path, lambda steps: [step.update(language_instruction="") for step in steps])
    for _ in ("built", "from the cache"):
        index = open_index(tmp_path, "tabletop", "train")
        assert index.everything is not None
        assert (index.everything.num_transitions, index.everything.num_trajectories) == (20, 4)
        every = np.concatenate([[s["action"] for s in make_steps(5, number)] for number in range(4)])
        np.testing.assert_allclose(index.everything.action.q99, np.quantile(every, 0.99, axis=0), atol=1e-6)
        assert len(index) == 15


def break_record(root, shard, number):
    path = RldsFolder.open(root / "tabletop" / "1.0.0").shards("train")[shard].path
    record = list(read_records(path))[number]
    data = bytearray(path.read_bytes())
    data[record.offset + 100] ^= 0xFF
    path.write_bytes(data)
    return path


def test_a_corrupt_record_stops_with_file_record_and_byte(tabletop):
    path = break_record(tabletop, 1, 2)
    with pytest.raises(StairError) as caught:
        open_index(tabletop, "tabletop", "train")
    assert str(path) in caught.value.what
    assert "record 2 at byte" in caught.value.what
    assert "data.skip_corrupt true" in caught.value.hint


def test_skip_corrupt_goes_on_and_says_what_it_skipped(tabletop, capsys):
    whole = open_index(tabletop, "tabletop", "train")
    break_record(tabletop, 1, 2)
    index = open_index(tabletop, "tabletop", "train", skip_corrupt=True)
    told = capsys.readouterr().err
    assert "record 2 at byte" in told
    assert "1 corrupt" in told
    assert index.dropped.corrupt == 1
    assert index.episodes == whole.episodes - 1
    lost = whole.episodes // 2 + 2
    kept = [e for e in range(whole.episodes) if e != lost]
    for mine, theirs in enumerate(kept):
        np.testing.assert_array_equal(index.episode(mine).actions, whole.episode(theirs).actions)


def test_a_split_with_nothing_usable_says_why(tmp_path):
    folder = tmp_path / "tabletop" / "1.0.0"
    with RldsWriter(
        folder, name="tabletop", features=manipulation_features(24, 24), split_shards={"train": 1}
    ) as writer:
        writer.add("train", make_steps(4, 0, words=""), {"episode_id": 0, "file_path": ""})
    with pytest.raises(StairError, match=r"no usable episode(.|\n)*1 have no instruction"):
        open_index(tmp_path, "tabletop", "train")


def test_a_frame_of_a_vanished_file_is_told_by_name(tabletop):
    index = open_index(tabletop, "tabletop", "train")
    os.truncate(index.files[0], 100)
    with pytest.raises(StairError, match=r"cannot read \d+ bytes at byte \d+: the file ends there"):
        FrameReader(index.files).read(*index.frames[5].tolist())
    os.unlink(index.files[0])
    with pytest.raises(StairError, match="No such file"):
        FrameReader(index.files).read(*index.frames[5].tolist())


def test_more_files_than_may_be_open_are_read_all_the_same(tabletop):
    index = open_index(tabletop, "tabletop", "train")
    reader = FrameReader(index.files)
    reader.most = 1
    rows = [0, -1, 1, -2]
    assert [reader.read(*index.frames[r].tolist())[:2] for r in rows] == [b"\xff\xd8"] * 4
    assert len(reader.open_files) == 1
    reader.close()
