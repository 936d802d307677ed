"""The inspector tells what a checkpoint is and what does not fit, by exit code and in JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from stair import settings
from stair.console import run_command
from stair.models.saved import SavedConfig, part_tensors, save_model
from tests.models.formats.making import (
    CONFIG,
    INPUTS,
    STATISTICS,
    VLM,
    cogact_modules,
    fresh_model,
    modules_of,
    write_run,
)
from tools.checkpoints.inspecting import main

MODEL = fresh_model()
SCRIPT = Path(__file__).resolve().parents[2] / "tools/inspect-checkpoint"


@pytest.fixture
def config(tmp_path) -> str:
    """A model folder's config.yaml of the small model."""
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump(settings.dump(SavedConfig("stage1", CONFIG, INPUTS)))
    )
    return str(tmp_path / "config.yaml")


def inspect(capsys, *words: str):
    code = run_command(lambda: main([*words, "--json"]))
    return code, json.loads(capsys.readouterr().out)


def part(told, name):
    return next(entry for entry in told["parts"] if entry["part"] == name)


def test_an_openvla_run_fits_and_may_start_stage_one(tmp_path, config, capsys):
    write_run(tmp_path / "run", modules_of(MODEL, *VLM))
    code, told = inspect(capsys, str(tmp_path / "run"), "--against", config)
    assert code == 0
    assert (told["format"], told["family"], told["starts"]) == ("prismatic", "openvla", ["stage1"])
    assert told["statistics"] == ["bridge_orig"]
    assert part(told, "action_model")["verdict"] == "absent"
    assert part(told, "projector")["verdict"] == "fits"
    count = sum(p.numel() for p in MODEL.parts()["projector"].parameters())
    assert part(told, "projector")["parameters"] == count
    assert part(told, "projector")["dtypes"] == ["float32"]


def test_missing_extra_and_misshaped_are_listed_and_do_not_fit(tmp_path, config, capsys):
    modules = modules_of(MODEL, *VLM)
    del modules["llm_backbone"]["llm.model.norm.weight"]
    modules["llm_backbone"]["llm.model.layers.9.mlp.up_proj.weight"] = torch.ones(2, 2)
    modules["projector"]["projector.2.bias"] = torch.ones(3)
    write_run(tmp_path / "run", modules)
    code, told = inspect(capsys, str(tmp_path / "run"), "--against", config)
    assert code == 1
    assert not told["fits"]
    assert part(told, "llm_backbone")["missing"] == ["llm_backbone.llm.model.norm.weight"]
    assert part(told, "llm_backbone")["extra"] == ["llm_backbone.llm.model.layers.9.mlp.up_proj.weight"]
    expected = list(MODEL.parts()["projector"].state_dict()["projector.2.bias"].shape)
    assert part(told, "projector")["misshaped"] == [
        {"key": "projector.projector.2.bias", "found": [3], "expected": expected}
    ]
    assert told["starts"] == []


def test_a_small_model_does_not_fit_the_full_size_one(tmp_path, capsys):
    write_run(tmp_path / "run", modules_of(MODEL, *VLM))
    code, told = inspect(capsys, str(tmp_path / "run"), "--against", "full")
    assert code == 1
    assert all(part(told, name)["misshaped"] for name in VLM)


def test_cogacts_head_fits_with_what_starts_fresh_counted(tmp_path, config, capsys):
    write_run(tmp_path / "run", cogact_modules(MODEL))
    code, told = inspect(capsys, str(tmp_path / "run"), "--against", config)
    assert code == 0
    head = part(told, "action_model")
    assert head["verdict"] == f"fits, {len(head['fresh'])} tensors start fresh"
    assert any("history_embedder" in name for name in told["left_alone"])


def test_our_own_folder_is_held_against_itself(tmp_path, capsys):
    save_model(tmp_path / "m", SavedConfig("stage2", CONFIG, INPUTS, 3), part_tensors(MODEL), STATISTICS)
    code, told = inspect(capsys, str(tmp_path / "m"))
    assert (code, told["against"], told["starts"]) == (0, "its own configuration", ["stage1", "stage2"])
    wider = SavedConfig("stage2", replace(CONFIG, head=replace(CONFIG.head, width=64)), INPUTS)
    (tmp_path / "wide.yaml").write_text(yaml.safe_dump(settings.dump(wider)))
    code, told = inspect(capsys, str(tmp_path / "m"), "--against", str(tmp_path / "wide.yaml"))
    assert code == 1
    assert part(told, "action_model")["verdict"] == "does not fit"
    assert part(told, "oformer")["verdict"] == "fits"


def test_people_get_a_table_and_examples(tmp_path, config, capsys):
    modules = modules_of(MODEL, *VLM)
    modules["projector"]["projector.2.bias"] = torch.ones(3)
    write_run(tmp_path / "run", modules)
    assert run_command(lambda: main([str(tmp_path / "run"), "--against", config])) == 1
    shown = capsys.readouterr().out
    assert "OpenVLA prismatic checkpoint" in shown
    assert "mis-shaped: projector.projector.2.bias is [3], expected" in shown
    assert "may start: no stage" in shown


def test_what_cannot_be_read_is_exit_code_three(tmp_path, capsys):
    (tmp_path / "a.pt").write_bytes(b"PK\x03\x04 and no more")
    code, told = inspect(capsys, str(tmp_path / "a.pt"))
    assert code == 3
    assert "was cut off" in told["error"]
    code, told = inspect(capsys, str(tmp_path / "nowhere"))
    assert (code, "does not exist" in told["error"]) == (3, True)


def test_wrong_use_is_exit_code_two(tmp_path, capsys):
    write_run(tmp_path / "run", modules_of(MODEL, *VLM))
    assert run_command(lambda: main([str(tmp_path / "run"), "--against", "smal"])) == 2
    assert run_command(lambda: main([str(tmp_path / "run"), "--against", str(tmp_path / "no.yaml")])) == 2


@pytest.mark.parametrize("word", ["small", "bridge-small", "stage1"])
def test_recipes_name_models(tmp_path, capsys, word):
    write_run(tmp_path / "run", modules_of(MODEL, *VLM))
    assert inspect(capsys, str(tmp_path / "run"), "--against", word)[0] == 1


def test_the_command_itself_runs(tmp_path, config):
    write_run(tmp_path / "run", modules_of(MODEL, *VLM))
    words = [sys.executable, str(SCRIPT), str(tmp_path / "run"), "--against", config]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "may start: stage1" in done.stdout
