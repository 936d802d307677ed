"""The three layouts hold what is documented of them, and writing survives being stopped."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from stair.data.lerobot import pack
from stair.data.lerobot import writer as writing
from stair.data.lerobot.pack import groups
from stair.data.lerobot.stats import Together, looked_at, number_stats, picture_stats
from stair.data.lerobot.writer import LeRobotSettings, LeRobotWriter
from stair.errors import StairError, UsageError
from tests.data.lerobot.made import SIZE, smooth_pictures

pytest.importorskip("pyarrow")
import pyarrow.parquet as pq

CAMERA = "observation.images.image_0"
NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
LENGTHS = (6, 11, 3, 8)
TASKS = ("pick up the spoon", "close the drawer", "pick up the spoon", "")
COLUMNS = ["observation.state", "action", "timestamp", "frame_index", "episode_index", "index", "task_index"]


def settings(version: str, codec: str = "h264", **how) -> LeRobotSettings:
    numbers = {"observation.state": NAMES, "action": NAMES}
    return LeRobotSettings(version, 5.0, "widowx", numbers, {CAMERA: (SIZE, SIZE)}, codec, **how)  # type: ignore[arg-type]


def values(number: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(number)
    return {name: rng.normal(size=(LENGTHS[number], 7)).astype(np.float32) for name in COLUMNS[:2]}


def add(writer: LeRobotWriter, number: int) -> None:
    writer.add(values(number), {CAMERA: smooth_pictures(LENGTHS[number], number)}, TASKS[number])


def write(folder: Path, version: str, codec: str = "h264", **how) -> Path:
    writer = LeRobotWriter(folder, settings(version, codec, **how))
    for number in range(writer.done, len(LENGTHS)):
        add(writer, number)
    writer.close()
    return folder


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def read_json(path: Path):
    return json.loads(path.read_text())


def read_lines(path: Path) -> list:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("version", ["v2.0", "v2.1"])
def test_version_2_has_a_table_and_a_video_for_every_episode(tmp_path, version):
    folder = write(tmp_path / "it", version)
    stats = "meta/episodes_stats.jsonl" if version == "v2.1" else "meta/stats.json"
    assert files(folder) == sorted(
        [f"data/chunk-000/episode_{n:06d}.parquet" for n in range(4)]
        + [f"videos/chunk-000/{CAMERA}/episode_{n:06d}.mp4" for n in range(4)]
        + [f"meta/{name}" for name in ("info.json", "episodes.jsonl", "tasks.jsonl", "modality.json")]
        + [stats]
    )
    info = read_json(folder / "meta/info.json")
    assert {name: info[name] for name in info if name.startswith("total")} == {
        "total_episodes": 4,
        "total_frames": sum(LENGTHS),
        "total_tasks": 3,
        "total_videos": 4,
        "total_chunks": 1,
    }
    assert (info["codebase_version"], info["robot_type"], info["fps"]) == (version, "widowx", 5)
    assert (info["chunks_size"], info["splits"]) == (1000, {"train": "0:4"})
    assert info["data_path"] == "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    assert (
        info["video_path"] == "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    )
    assert info["features"][CAMERA]["dtype"] == "video"
    assert info["features"][CAMERA]["shape"] == [SIZE, SIZE, 3]
    assert info["features"][CAMERA]["info"]["video.codec"] == "h264"
    assert info["features"]["action"] == {"dtype": "float32", "shape": [7], "names": {"motors": list(NAMES)}}
    assert info["features"]["task_index"] == {"dtype": "int64", "shape": [1], "names": None}
    assert read_lines(folder / "meta/episodes.jsonl")[1] == {
        "episode_index": 1,
        "tasks": ["close the drawer"],
        "length": 11,
    }
    assert read_lines(folder / "meta/tasks.jsonl") == [
        {"task_index": 0, "task": "pick up the spoon"},
        {"task_index": 1, "task": "close the drawer"},
        {"task_index": 2, "task": ""},
    ]


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_tables_hold_the_documented_columns_and_counters(tmp_path, version):
    folder = write(tmp_path / "it", version)
    table = "data/chunk-000/" + ("file-000.parquet" if version == "v3.0" else "episode_000001.parquet")
    rows = pq.read_table(folder / table)
    assert rows.column_names == COLUMNS
    types = {name: str(rows.schema.field(name).type) for name in COLUMNS}
    assert re.fullmatch(r"fixed_size_list<\w+: float>\[7\]", types["action"])
    assert types["timestamp"] == "float"
    assert all(types[name] == "int64" for name in COLUMNS[3:])
    mine = rows.filter(np.array(rows["episode_index"]) == 1).to_pydict()
    np.testing.assert_array_equal(np.array(mine["action"], np.float32), values(1)["action"])
    np.testing.assert_array_equal(
        np.array(mine["timestamp"], np.float32), np.arange(11, dtype=np.float32) / 5
    )
    assert mine["frame_index"] == list(range(11))
    assert mine["index"] == list(range(6, 17))
    assert set(mine["task_index"]) == {1}


def test_version_3_shares_files_and_addresses_episodes_by_time(tmp_path):
    folder = write(tmp_path / "it", "v3.0", data_mb=0.001, video_mb=0.009)
    names = files(folder)
    assert [n for n in names if n.startswith("meta")] == [
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/info.json",
        "meta/modality.json",
        "meta/stats.json",
        "meta/tasks.parquet",
    ]
    shared = [n for n in names if n.startswith("videos")]
    assert shared[0] == f"videos/{CAMERA}/chunk-000/file-000.mp4"
    assert len(shared) == 3
    assert not any("episode_" in name or "/." in name for name in names)
    info = read_json(folder / "meta/info.json")
    assert info["data_path"] == "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    assert info["video_path"] == "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    assert "total_chunks" not in info
    assert info["features"]["action"]["fps"] == 5
    episodes = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [e["length"] for e in episodes] == list(LENGTHS)
    assert [e["dataset_from_index"] for e in episodes] == [0, 6, 17, 20]
    assert [e["dataset_to_index"] for e in episodes] == [6, 17, 20, 28]
    assert episodes[1]["tasks"] == ["close the drawer"]
    place, start = None, 0.0
    for episode in episodes:
        now = tuple(episode[f"videos/{CAMERA}/{name}"] for name in ("chunk_index", "file_index"))
        start = start if now == place else 0.0
        place = now
        assert episode[f"videos/{CAMERA}/from_timestamp"] == pytest.approx(start)
        start += episode["length"] / 5
        assert episode[f"videos/{CAMERA}/to_timestamp"] == pytest.approx(start)
    for name in ("data/chunk_index", "data/file_index", "meta/episodes/chunk_index", "stats/action/mean"):
        assert name in episodes[0]
    tasks = pq.read_table(folder / "meta/tasks.parquet")
    assert tasks["task"].to_pylist() == ["pick up the spoon", "close the drawer", ""]
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_statistics_are_those_of_all_steps(tmp_path):
    folder = write(tmp_path / "it", "v2.0")
    stats = read_json(folder / "meta/stats.json")
    everything = np.concatenate([values(n)["action"] for n in range(4)]).astype(np.float64)
    for name, expected in (("mean", everything.mean(0)), ("std", everything.std(0))):
        np.testing.assert_allclose(stats["action"][name], expected, rtol=1e-9)
    np.testing.assert_array_equal(stats["action"]["max"], everything.max(0))
    assert stats["action"]["count"] == [sum(LENGTHS)]
    assert np.array(stats[CAMERA]["mean"]).shape == (3, 1, 1)
    of_each = write(tmp_path / "other", "v2.1")
    lines = read_lines(of_each / "meta/episodes_stats.jsonl")
    assert lines[2]["episode_index"] == 2
    np.testing.assert_allclose(lines[2]["stats"]["action"]["mean"], values(2)["action"].mean(0), rtol=1e-6)


def test_statistics_of_parts_add_up_to_those_of_the_whole():
    rng = np.random.default_rng(0)
    parts = [rng.normal(3, 2, (n, 4)) for n in (1, 50, 7)]
    together = Together()
    for part in parts:
        together.add({"it": number_stats(part)})
    whole, added = number_stats(np.concatenate(parts)), together.tree()["it"]
    for name, value in whole.items():
        np.testing.assert_allclose(added[name], value, rtol=1e-12, err_msg=name)
    assert looked_at(1) == [0]
    assert looked_at(100)[0] == 0
    assert looked_at(100)[-1] == 99
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    assert picture_stats([red])["mean"] == [[[1.0]], [[0.0]], [[0.0]]]


def test_episodes_share_files_up_to_a_size_and_large_ones_stand_alone():
    assert groups([3, 3, 3, 10, 1], 6) == [[0, 2], [2, 3], [3, 4], [4, 5]]
    assert groups([], 6) == []


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_a_writer_that_was_stopped_is_gone_on_with_and_gives_the_same_files(tmp_path, version):
    whole = write(tmp_path / "whole", version)
    first = LeRobotWriter(tmp_path / "it", settings(version))
    add(first, 0)
    add(first, 1)
    first.journal.close()  # killed: a line cut short, a half video
    work = tmp_path / ".it.writing"
    with open(work / "journal.jsonl", "a") as journal:
        journal.write('{"length": 3, "ta')
    (work / f"videos/chunk-000/{CAMERA}/.episode_000002.mp4.99").write_bytes(b"half")
    assert not (tmp_path / "it").exists()
    again = LeRobotWriter(tmp_path / "it", settings(version))
    assert again.done == 2
    again.journal.close()
    folder = write(tmp_path / "it", version)
    assert files(folder) == files(whole)
    for name in files(folder):
        if not name.endswith((".parquet", ".mp4")):
            assert (folder / name).read_text() == (whole / name).read_text(), name
        if name.endswith(".parquet"):
            assert pq.read_table(folder / name).equals(pq.read_table(whole / name)), name
    assert not work.exists()


def test_packing_that_was_stopped_is_gone_on_with(tmp_path, monkeypatch):
    whole = write(tmp_path / "whole", "v3.0", data_mb=0.001, video_mb=0.009)
    real, calls = pack.join_videos, []

    def stops(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(pack, "join_videos", stops)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "it", "v3.0", data_mb=0.001, video_mb=0.009)
    monkeypatch.setattr(pack, "join_videos", real)
    folder = write(tmp_path / "it", "v3.0", data_mb=0.001, video_mb=0.009)
    assert files(folder) == files(whole)


def test_other_settings_do_not_go_on_with_what_was_begun(tmp_path):
    writer = LeRobotWriter(tmp_path / "it", settings("v2.1"))
    add(writer, 0)
    writer.journal.close()
    with pytest.raises(StairError, match=r"was begun with version 'v2.1', not 'v3.0'") as caught:
        LeRobotWriter(tmp_path / "it", settings("v3.0"))
    assert "rm -r" in caught.value.hint
    writing.abandon(tmp_path / "it")
    assert list(tmp_path.iterdir()) == []


def test_two_processes_do_not_write_one_data_set(tmp_path):
    writer = LeRobotWriter(tmp_path / "it", settings("v2.1"))
    add(writer, 0)
    with pytest.raises(StairError, match="is being written by another process"):
        LeRobotWriter(tmp_path / "it", settings("v2.1"))
    for number in range(1, len(LENGTHS)):
        add(writer, number)
    writer.close()
    assert files(tmp_path / "it") == files(write(tmp_path / "alone", "v2.1"))


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"unknown LeRobot version 'v1.0'"):
        LeRobotWriter(tmp_path / "it", settings("v1.0"))
    with pytest.raises(UsageError, match="unknown codec 'gif'"):
        LeRobotWriter(tmp_path / "it", settings("v2.1", "gif"))
    writer = LeRobotWriter(tmp_path / "it", settings("v2.1"))
    pictures = smooth_pictures(6, 0)
    with pytest.raises(StairError, match="'action' is given or expected"):
        writer.add({"observation.state": values(0)["action"]}, {CAMERA: pictures}, "")
    with pytest.raises(StairError, match=r"columns have \[5, 6\] steps"):
        writer.add(values(0), {CAMERA: pictures[:5]}, "")
    with pytest.raises(StairError, match="has pictures of"):
        writer.add(values(0), {CAMERA: [p[:32] for p in pictures]}, "")
    with pytest.raises(StairError, match=r"action is \[5\]"):
        writer.add(
            {n: v[:, :5] if n == "action" else v for n, v in values(0).items()}, {CAMERA: pictures}, ""
        )
    with pytest.raises(StairError, match="no episode to write"):
        writer.close()
    shutil.rmtree(tmp_path / ".it.writing")
    (tmp_path / "it").mkdir()
    with pytest.raises(StairError, match="it exists"):
        LeRobotWriter(tmp_path / "it", settings("v2.1"))
