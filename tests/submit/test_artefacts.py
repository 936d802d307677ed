"""What a step made is known by hash, and a later step refuses what is no longer that."""

from __future__ import annotations

from pathlib import Path

import pytest

from stair.errors import StairError
from stair.submit.artefacts import record_artefacts, verify_artefacts
from stair.submit.plan import Step


def a_step(kind: str, folder: Path, **settings: object) -> Step:
    return Step(
        name=kind,
        kind=kind,
        folder=str(folder),
        argv=(),
        server=(),
        server_timeout_s=0.0,
        settings={kind: settings},
        environment={},
        needs=(),
        nodes=1,
        processes=1,
        hours=1.0,
    )


def a_checkpoint(folder: Path, step: int) -> Path:
    place = folder / "checkpoints" / f"step-{step:07d}"
    for name in ("model/model.safetensors", "model/config.yaml", "training/optimizer.pt"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(f"{name} {step}".encode())
    (place / "complete").touch()
    return place


def test_a_training_is_known_by_its_newest_model(tmp_path: Path):
    a_checkpoint(tmp_path, 1)
    a_checkpoint(tmp_path, 2)
    step = a_step("train", tmp_path)
    recorded = record_artefacts(step)
    model = "checkpoints/step-0000002/model"
    assert list(recorded) == [f"{model}/config.yaml", f"{model}/model.safetensors"]
    verify_artefacts(step, recorded)


def test_a_flipped_byte_is_refused_with_both_hashes_and_the_cure(tmp_path: Path):
    place = a_checkpoint(tmp_path, 2)
    step = a_step("train", tmp_path)
    recorded = record_artefacts(step)
    file = place / "model" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[5] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(StairError, match="is not what step train made") as caught:
        verify_artefacts(step, recorded)
    expected = recorded["checkpoints/step-0000002/model/model.safetensors"]
    assert str(file) in caught.value.what
    assert expected[:12] in caught.value.what
    assert str(step.done_file) in caught.value.hint


def test_a_lost_file_is_refused(tmp_path: Path):
    place = a_checkpoint(tmp_path, 2)
    step = a_step("train", tmp_path)
    recorded = record_artefacts(step)
    (place / "model" / "config.yaml").unlink()
    with pytest.raises(StairError, match="is missing"):
        verify_artefacts(step, recorded)


def test_a_newer_checkpoint_than_the_recorded_one_is_refused(tmp_path: Path):
    a_checkpoint(tmp_path, 2)
    step = a_step("train", tmp_path)
    recorded = record_artefacts(step)
    a_checkpoint(tmp_path, 3)
    with pytest.raises(StairError, match="newer than what step train made"):
        verify_artefacts(step, recorded)


def test_a_data_set_is_known_by_its_shards_and_not_by_its_caches(tmp_path: Path):
    data, other = tmp_path / "data/tabletop/1.0.0", tmp_path / "data/bridge/1.0.0"
    for folder in (data, other):
        folder.mkdir(parents=True)
        (folder / "x-train.tfrecord-00000-of-00001").write_bytes(b"episodes")
        (folder / "features.json").write_text("{}")
        (folder / "stair-index-train.npz").write_bytes(b"cache")
    (data / "collect.json").write_text("{}")
    step = a_step("collect", tmp_path / "elsewhere", root=str(tmp_path / "data"))
    recorded = record_artefacts(step)
    names = ["collect.json", "features.json", "x-train.tfrecord-00000-of-00001"]
    assert list(recorded) == [f"tabletop/1.0.0/{name}" for name in names]
    (data / "stair-index-train.npz").unlink()
    verify_artefacts(step, recorded)
    (data / "x-train.tfrecord-00000-of-00001").write_bytes(b"episodeS")
    with pytest.raises(StairError, match="tfrecord"):
        verify_artefacts(step, recorded)


def test_an_evaluation_is_known_by_its_episodes(tmp_path: Path):
    (tmp_path / "episodes").mkdir()
    (tmp_path / "episodes" / "a.jsonl").write_text("{}\n")
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    assert list(record_artefacts(a_step("eval", tmp_path))) == ["episodes/a.jsonl"]


def test_what_made_nothing_has_nothing_to_verify(tmp_path: Path):
    for kind in ("train", "collect", "eval", "report"):
        step = a_step(kind, tmp_path / "missing")
        assert record_artefacts(step) == {}
        verify_artefacts(step, {})
