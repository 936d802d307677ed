"""What each stage loads, freezes and learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stair.errors import StairError, UsageError
from stair.models.build import build_model
from stair.train.config import FreezeConfig
from stair.train.stages import LAST_LLM_LAYER, STAGES, VLM, freeze_parts, parts_to_load, trainable_parts
from tests.models.small import CONFIG, INPUTS
from tests.train.small import settings_of, train_here

ONE, TWO = STAGES["stage1"], STAGES["stage2"]


@pytest.mark.parametrize(
    ("vision", "llm", "last", "expected"),
    [
        (False, False, True, set(VLM)),
        (False, False, False, set(VLM)),
        (True, False, True, {"projector", "llm_backbone"}),
        (True, True, True, {"projector"}),
        (False, True, False, {"vision_backbone", "projector", LAST_LLM_LAYER}),
        (True, True, False, {LAST_LLM_LAYER}),
    ],
)
def test_freeze_switches_follow_the_table(vision: bool, llm: bool, last: bool, expected: set[str]) -> None:
    parts = trainable_parts(ONE, FreezeConfig(vision, llm, last))
    assert parts == expected | {"projection", "action_model", "auxiliary"}


def test_frozen_llm_under_training_vision_is_refused() -> None:
    with pytest.raises(UsageError, match="no known way"):
        trainable_parts(ONE, FreezeConfig(vision_backbone=False, llm_backbone=True, last_llm_layer=True))


def test_stage_two_learns_the_oformer_and_not_its_target() -> None:
    parts = trainable_parts(TWO, FreezeConfig())
    assert parts == {*VLM, "oformer", "action_model", "auxiliary"}


def test_last_layer_means_embedding_last_layer_and_head() -> None:
    model = build_model(CONFIG, INPUTS)
    freeze_parts(model, frozenset({LAST_LLM_LAYER}))
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in learning} == {"llm_backbone"}
    shown = {name.removeprefix("llm_backbone.llm.").removeprefix("model.") for name in learning}
    assert {name.split(".")[0] + "." + name.split(".")[1] for name in shown} == {
        "embed_tokens.weight",
        "layers.1",
        "lm_head.weight",
    }


def test_freezing_never_switches_on_what_a_part_keeps_out_of_training() -> None:
    model = build_model(CONFIG, INPUTS)
    before = {name for name, p in model.named_parameters() if not p.requires_grad}
    freeze_parts(model, frozenset(model.parts()))  # type: ignore[operator]
    assert before
    assert before == {name for name, p in model.named_parameters() if not p.requires_grad}


def test_stage_two_names_the_parts_a_model_lacks() -> None:
    with pytest.raises(StairError, match="action_model, projection"):
        parts_to_load(TWO, VLM)


def test_direct_asks_only_for_the_vlm_and_takes_what_is_there() -> None:
    assert parts_to_load(TWO, VLM, direct=True) == list(VLM)
    assert parts_to_load(TWO, {*VLM, "action_model", "oformer"}, direct=True) == [
        *VLM,
        "action_model",
        "oformer",
    ]


def test_stage_two_without_an_earlier_model_is_refused(tmp_path: Path, data: Path) -> None:
    with pytest.raises(UsageError, match="init_from is empty"):
        train_here(settings_of(tmp_path / "run", data, stage="stage2"))


def test_direct_stage_two_runs_and_says_so_loudly(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_here(settings_of(tmp_path / "run", data, stage="stage2", direct=True, steps=1)) == 0
    assert "WARNING" in capsys.readouterr().err


def test_frozen_parts_stay_bit_equal_and_the_others_move(tmp_path: Path, data: Path, finished: Path) -> None:
    from safetensors.torch import load_file

    flags = {"freeze__vision_backbone": True, "freeze__llm_backbone": True}
    config = settings_of(tmp_path / "two", data, stage="stage2", init_from=str(finished), steps=3, **flags)
    assert train_here(config) == 0
    before = load_file(finished / "checkpoints/step-0000012/model/model.safetensors")
    after = load_file(tmp_path / "two/checkpoints/step-0000003/model/model.safetensors")
    moved = {key.split(".")[0] for key in after if not torch.equal(before[key], after[key])}
    assert moved == {"projector", "oformer", "action_model", "auxiliary"}
