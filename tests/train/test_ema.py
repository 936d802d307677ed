"""Averages of weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from stair.errors import UsageError
from stair.train.config import EmaConfig
from stair.train.ema import Ema
from tests.train.small import column, settings_of, train_here


def small() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"action_model": nn.Linear(3, 2), "llm_backbone": nn.Linear(3, 2)})


def test_the_average_follows_the_weights_by_its_formula_and_covers_named_parts_only() -> None:
    model = small()
    ema = Ema(model, EmaConfig(decay=0.9))
    assert set(ema.average) == {"action_model.weight", "action_model.bias"}
    expected = model["action_model"].weight.detach().clone()
    for _ in range(3):
        with torch.no_grad():
            model["action_model"].weight += 1.0
        ema.update()
        expected = 0.9 * expected + 0.1 * model["action_model"].weight.detach()
    torch.testing.assert_close(ema.average["action_model.weight"], expected)


def test_in_place_the_model_is_its_average_and_afterwards_itself_again() -> None:
    model = small()
    ema = Ema(model, EmaConfig(decay=0.9))
    before = model["action_model"].weight.detach().clone()
    with torch.no_grad():
        model["action_model"].weight += 1.0
    ema.update()
    with ema.in_place():
        torch.testing.assert_close(model["action_model"].weight.detach(), before + 0.1)
    torch.testing.assert_close(model["action_model"].weight.detach(), before + 1.0)
    torch.testing.assert_close(ema.average["action_model.weight"], before + 0.1)


def test_parts_that_do_not_train_are_refused() -> None:
    with pytest.raises(UsageError, match=r"nothing of ema\.parts"):
        Ema(small(), EmaConfig(decay=0.9, parts=("oformer",)))


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(run / f"checkpoints/step-{step:07d}/model/model.safetensors")


MEASURED = {
    "engine__shard": "full",
    "data__held_out": 0.3,
    "tracking__validate_batches": 1,
    "tracking__validate_every": 1,
}


@pytest.mark.parametrize("flags", [{}, MEASURED], ids=["alone", "sharded-and-measured"])
def test_neither_a_resume_nor_a_measurement_changes_weights_and_average(
    tmp_path: Path, data: Path, flags: dict[str, object]
) -> None:
    flags = {**flags, "ema__decay": 0.5}
    assert train_here(settings_of(tmp_path / "whole", data, steps=4, **flags)) == 0
    flags["tracking__validate_every"] = 0
    assert train_here(settings_of(tmp_path / "parts", data, steps=2, **flags)) == 0
    assert train_here(settings_of(tmp_path / "parts", data, steps=4, **flags)) == 0
    assert column(tmp_path / "whole", "loss") == column(tmp_path / "parts", "loss")
    whole, parts = weights(tmp_path / "whole", 4), weights(tmp_path / "parts", 4)
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_the_average_is_what_is_saved_to_be_served_and_training_does_not_see_it(
    tmp_path: Path, data: Path, finished: Path
) -> None:
    assert train_here(settings_of(tmp_path / "run", data, steps=4, ema__decay=0.5)) == 0
    average, plain = weights(tmp_path / "run", 4), weights(finished, 4)
    differing = {key.split(".")[0] for key in plain if not torch.equal(plain[key], average[key])}
    assert differing == {"action_model", "projection"}
    assert column(tmp_path / "run", "loss") == column(finished, "loss")[:4]
