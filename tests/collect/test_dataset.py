"""A collection is a data set that reads back, is the same however it was made, and is never half there."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from stair.collect.__main__ import main
from stair.collect.config import CollectConfig
from stair.collect.dataset import collect, in_order
from stair.collect.demonstrate import demonstrate
from stair.data.rlds import RldsFolder
from stair.errors import StairError, UsageError


@pytest.fixture
def config(tmp_path: Path) -> CollectConfig:
    return CollectConfig(
        root=str(tmp_path), episodes=10, image_size=24, workers=1, shards=3, instructions_per_layout=2
    )


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_was_demonstrated_is_read_back(config: CollectConfig):
    folder = RldsFolder.open(collect(config))
    assert [shard.episodes for shard in folder.shards("train")] == [4, 3, 3]
    read = {int(np.asarray(e.values["episode_metadata/episode_id"])[0]): e for e in folder.episodes("train")}
    assert sorted(read) == list(range(10))
    for index, episode in read.items():
        steps = demonstrate(config, index).steps
        actions = np.array([step["action"] for step in steps])
        states = np.array([step["observation"]["state"] for step in steps])
        assert np.array_equal(episode.floats("steps/action", 7), actions)
        assert np.array_equal(episode.floats("steps/observation/state", 7), states)
        pictures = episode.spans("steps/observation/image_0")
        assert len(pictures) == len(steps)
        image = simplejpeg.decode_jpeg(pictures[0])
        assert np.abs(image.astype(int) - steps[0]["observation"]["image_0"]).mean() < 3


def test_the_bytes_do_not_depend_on_the_number_of_workers(config: CollectConfig, tmp_path: Path):
    one = collect(config)
    three = collect(replace(config, root=str(tmp_path / "three"), workers=3))
    assert files_of(one) == files_of(three)


def test_a_finished_set_is_left_alone(config: CollectConfig, capsys: pytest.CaptureFixture[str]):
    folder = collect(config)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert collect(replace(config, workers=2)) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert "finished already" in capsys.readouterr().err


def test_other_settings_do_not_overwrite_a_set(config: CollectConfig):
    folder = collect(config)
    before = files_of(folder)
    with pytest.raises(UsageError, match=r"noise 0\.01; now noise 0\.005") as caught:
        collect(replace(config, noise=0.005))
    assert "--root" in caught.value.hint
    assert files_of(folder) == before


def test_a_folder_of_someone_else_is_not_touched(config: CollectConfig, tmp_path: Path):
    (tmp_path / "tabletop" / "1.0.0").mkdir(parents=True)
    with pytest.raises(UsageError, match="was not written by"):
        collect(config)


def test_nothing_is_left_of_a_collection_that_failed(config: CollectConfig, monkeypatch: pytest.MonkeyPatch):
    def fail_late(settings: CollectConfig, index: int):
        if index == 6:
            raise StairError("the table broke")
        return demonstrate(settings, index)

    monkeypatch.setattr("stair.collect.dataset.demonstrate", fail_late)
    with pytest.raises(StairError, match="the table broke"):
        collect(config)
    assert list((Path(config.root) / "tabletop").iterdir()) == []
    monkeypatch.undo()
    assert len(list(RldsFolder.open(collect(config)).episodes("train"))) == 10


def test_a_root_that_cannot_be_written_is_named(config: CollectConfig, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StairError, match=r"cannot write .*file"):
        collect(replace(config, root=str(tmp_path / "file")))


def test_a_worker_that_dies_ends_the_collection_instead_of_hanging_it():
    with pytest.raises(StairError, match="worker process died"):
        list(in_order(os._exit, 20, workers=2))


def test_an_error_in_a_worker_arrives_as_itself():
    with pytest.raises(ZeroDivisionError):
        list(in_order(partial(divmod, 1), 20, workers=2))


def test_the_command_takes_every_field_as_a_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = f"--root {tmp_path} --episodes 3 --image_size 24 --workers 1 --noise 1e-3 --seed 4".split()
    assert main(words) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "tabletop" / "1.0.0")
    with pytest.raises(UsageError, match="noize") as caught:
        main(["--noize", "0.1"])
    assert "did you mean 'noise'?" in caught.value.hint
    assert main(["--help"]) == 0
    assert "--instructions_per_layout 1" in capsys.readouterr().out
