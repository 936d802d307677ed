"""Stages start from checkpoints of any origin, and say what they took."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stair.errors import StairError
from stair.models.saved import SavedConfig, part_tensors, save_model
from stair.train.config import TrainConfig
from stair.train.stages import STAGES, start_from
from tests.models.formats.making import (
    CONFIG,
    INPUTS,
    VLM,
    cogact_modules,
    fresh_model,
    modules_of,
    same,
    write_hf,
    write_run,
)

ONE, TWO = STAGES["stage1"], STAGES["stage2"]
SOURCE = fresh_model(seed=0)


@pytest.fixture
def model():
    return fresh_model(seed=1)


def begin(model, stage, path: Path, **settings) -> None:
    start_from(model, stage, TrainConfig(stage=stage.name, init_from=str(path), **settings))


def test_stage_one_starts_from_an_openvla_run_and_says_it_is_the_vlm_only(tmp_path, model, capsys):
    write_run(tmp_path / "openvla-7b-prismatic", modules_of(SOURCE, *VLM))
    begin(model, ONE, tmp_path / "openvla-7b-prismatic")
    assert same(SOURCE, model, *VLM)
    assert not same(SOURCE, model, "action_model")
    told = capsys.readouterr().err
    assert "stage1 starts from OpenVLA prismatic checkpoint" in told
    assert "holds no projection, action_model, auxiliary; they start fresh" in told


def test_stage_one_starts_from_hugging_faces_folder_as_well(tmp_path, model):
    begin(model, ONE, write_hf(tmp_path / "openvla-7b", SOURCE))
    assert same(SOURCE, model, *VLM)


def test_stage_one_takes_cogacts_head_and_says_what_stays_fresh(tmp_path, model, capsys):
    write_run(tmp_path, cogact_modules(SOURCE))
    begin(model, ONE, tmp_path)
    one, other = SOURCE.action_model.state_dict(), model.action_model.state_dict()
    assert torch.equal(one["net.x_embedder.linear.weight"], other["net.x_embedder.linear.weight"])
    told = capsys.readouterr().err
    assert "14 tensors of the action head start fresh" in told or "15 tensors" in told
    assert "left alone in it: 2 single tensors" in told


def test_stage_two_refuses_an_openvla_checkpoint_unless_direct(tmp_path, model, capsys):
    write_run(tmp_path, modules_of(SOURCE, *VLM))
    with pytest.raises(StairError, match=r"with action_model, projection, OpenVLA prismatic") as caught:
        begin(model, TWO, tmp_path)
    assert "--direct true" in caught.value.hint
    assert not same(SOURCE, model, *VLM)
    begin(model, TWO, tmp_path, direct=True)
    assert same(SOURCE, model, *VLM)
    assert "WARNING" in capsys.readouterr().err


def test_stage_two_starts_from_a_stage_one_in_the_prismatic_layout(tmp_path, model):
    file = write_run(tmp_path, modules_of(SOURCE, *VLM, "action_model", "projection"), name="step-000123.pt")
    begin(model, TWO, file)
    assert same(SOURCE, model, *VLM, "action_model", "projection")


def test_stage_two_starts_from_our_own_folder(tmp_path, model, capsys):
    save_model(tmp_path / "m", SavedConfig("stage1", CONFIG, INPUTS, 3), part_tensors(SOURCE), {})
    begin(model, TWO, tmp_path / "m")
    assert same(SOURCE, model, *VLM, "action_model", "projection", "oformer")
    assert "stage2 starts from STAIR stage1 model folder" in capsys.readouterr().err


def test_another_base_vlm_is_remarked(tmp_path, model, capsys):
    write_run(tmp_path, modules_of(SOURCE, *VLM), base_vlm="prism-of-tomorrow")
    begin(model, ONE, tmp_path)
    assert "base VLM 'prism-of-tomorrow' is not known here" in capsys.readouterr().err


def test_a_model_of_another_size_is_refused(tmp_path):
    write_run(tmp_path, modules_of(SOURCE, *VLM))
    larger = fresh_model(1, replace(CONFIG, llm=replace(CONFIG.llm, mlp_width=64)))
    with pytest.raises(StairError, match="has shape"):
        begin(larger, ONE, tmp_path)
