"""Checkpoints from form to form, by the command."""

from __future__ import annotations

import pytest
import torch
import yaml

from stair import settings
from stair.console import run_command
from stair.models.formats.checkpoint import open_checkpoint
from stair.models.saved import SavedConfig, load_model, open_model, part_tensors, save_model
from tests.models.formats.making import (
    CONFIG,
    INPUTS,
    PT_NAME,
    STATISTICS,
    VLM,
    fresh_model,
    modules_of,
    same,
    write_run,
)
from tools.checkpoints.converting import main

MODEL = fresh_model()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("ours") / "model"
    save_model(place, SavedConfig("stage2", CONFIG, INPUTS, 7), part_tensors(MODEL), STATISTICS)
    return place


def convert(*words) -> int:
    return run_command(lambda: main([str(word) for word in words]))


def test_from_ours_to_prismatic_to_ours_nothing_changes(tmp_path, folder, capsys):
    assert convert(folder, tmp_path / "run", "--to", "prismatic", "--epoch", 3, "--loss", 0.125) == 0
    assert (tmp_path / "run/checkpoints/step-000007-epoch-03-loss=0.1250.pt").exists()
    assert convert(tmp_path / "run", tmp_path / "again", "--to", "stair", "--shard-gb", 0.00005) == 0
    loaded, saved = load_model(tmp_path / "again")
    assert saved.config == SavedConfig("stage2", CONFIG, INPUTS, 7)
    assert saved.statistics.keys() == STATISTICS.keys()
    assert same(loaded, MODEL, *(part for part in MODEL.parts() if part != "projection"))
    assert len(list((tmp_path / "again").glob("*.safetensors"))) > 1
    assert "MB" in capsys.readouterr().err


def test_hugging_faces_form_holds_the_vlm_and_says_what_is_left_out(tmp_path, folder, capsys):
    assert convert(folder, tmp_path / "hf", "--to", "hf", "--dtype", "bfloat16") == 0
    assert "not in it: action_model, auxiliary, oformer, projection" in capsys.readouterr().err
    checkpoint = open_checkpoint(tmp_path / "hf")
    assert set(checkpoint.parts) == set(VLM)
    assert {stored.dtype for stored in checkpoint.tensors.values()} == {"bfloat16"}
    key = "projector.projector.0.weight"
    assert torch.equal(checkpoint.tensors[key].read(), part_tensors(MODEL)[key].bfloat16())


def test_an_openvla_run_becomes_a_folder_to_start_from(tmp_path):
    write_run(tmp_path / "run", modules_of(MODEL, *VLM))
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(settings.dump(SavedConfig("stage1", CONFIG, INPUTS))))
    assert convert(tmp_path / "run", tmp_path / "m", "--to", "stair", "--config", tmp_path / "c.yaml") == 0
    saved = open_model(tmp_path / "m")
    assert (saved.config.stage, saved.config.step, saved.config.model) == ("openvla", 295000, CONFIG)
    assert set(open_checkpoint(tmp_path / "m").parts) == set(VLM)


def test_a_name_with_its_moment_keeps_it(tmp_path):
    write_run(tmp_path / "run", modules_of(MODEL, *VLM))
    assert convert(tmp_path / "run", tmp_path / "again", "--to", "prismatic") == 0
    assert (tmp_path / "again/checkpoints" / PT_NAME).exists()


def test_without_a_description_ours_cannot_be_written(tmp_path, capsys):
    write_run(tmp_path / "run", modules_of(MODEL, *VLM))
    assert convert(tmp_path / "run", tmp_path / "m", "--to", "stair") == 2
    assert "--config full" in capsys.readouterr().err
    assert convert(tmp_path / "run", tmp_path / "m", "--to", "stair", "--config", "full") == 1
    assert "does not fit the configuration" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_what_exists_is_never_overwritten(tmp_path, folder, capsys):
    (tmp_path / "run").mkdir()
    assert convert(folder, tmp_path / "run", "--to", "prismatic") == 2
    assert "exists" in capsys.readouterr().err


def test_a_full_disk_is_seen_first(tmp_path, folder, monkeypatch, capsys):
    monkeypatch.setattr("tools.disk.shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    assert convert(folder, tmp_path / "run", "--to", "prismatic") == 1
    assert "the disk has 1.0 kB free" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
