"""The three-way test of the dynamic condition."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from stair.data.sample import Batch
from stair.models.base import Draws
from stair.train.config import EngineConfig
from stair.train.heldout import held_out_losses
from tests.models.small import make_batch
from tests.train.small import ALONE, metrics, settings_of, train_here


class Table(nn.Module):
    """A model whose loss is looked up, and which notes what it was asked."""

    def __init__(self, losses: dict[str, float]) -> None:
        super().__init__()
        self.losses, self.asked = losses, []
        self.frozen = nn.Dropout(0.5).eval()

    def forward(self, batch: Batch, draws: Draws, condition: str) -> dict[str, torch.Tensor]:
        assert not self.training
        self.asked.append((condition, float(draws.noise.sum())))
        return {"loss": torch.tensor(9.0), "action": torch.tensor(self.losses[condition] * len(batch))}


def draws_of(number: int) -> Draws:
    drop = torch.zeros(4, dtype=torch.bool)
    return Draws(torch.full((1, 4, 16, 7), float(number)), torch.full((1, 4), 0.5), drop, drop, drop)


def test_every_condition_sees_the_same_noise_and_the_mean_of_its_action_loss_comes_back() -> None:
    model = Table({"dynamic": 1.0, "zero": 3.0})
    batches = [make_batch(2), make_batch(4)]
    found = held_out_losses(
        model, ("dynamic", "zero"), batches, draws_of, ALONE, EngineConfig(precision="fp32")
    )
    assert found == {"held_out/loss_dynamic": 3.0, "held_out/loss_zero": 9.0}
    assert model.asked == [("dynamic", 0.0), ("zero", 0.0), ("dynamic", 448.0), ("zero", 448.0)]
    assert model.training
    assert not model.frozen.training


def test_a_run_measures_held_out_losses_that_do_not_depend_on_when(tmp_path: Path, data: Path) -> None:
    flags = {"data__held_out": 0.3, "tracking__validate_every": 2, "tracking__validate_batches": 2}
    assert train_here(settings_of(tmp_path / "a", data, steps=5, tracking__log_every=100, **flags)) == 0
    lines = metrics(tmp_path / "a")
    assert [line["step"] for line in lines if "held_out/loss_zero" in line] == [2, 4, 5]
    assert lines[-1]["held_out/loss_shuffled"] != lines[-1]["held_out/loss_dynamic"]

    assert train_here(settings_of(tmp_path / "b", data, steps=3, **flags)) == 0
    assert train_here(settings_of(tmp_path / "b", data, steps=5, **flags)) == 0
    for name in ("dynamic", "shuffled", "zero"):
        key = f"held_out/loss_{name}"
        assert metrics(tmp_path / "b")[-1][key] == pytest.approx(lines[-1][key], abs=1e-7)


def test_stage_two_measures_the_oformer_too(tmp_path: Path, data: Path, finished: Path) -> None:
    flags = {"stage": "stage2", "init_from": str(finished), "data__held_out": 0.3}
    assert train_here(settings_of(tmp_path / "run", data, steps=1, **flags)) == 0
    names = {key for key in metrics(tmp_path / "run")[-1] if key.startswith("held_out/")}
    assert names == {f"held_out/loss_{name}" for name in ("oformer", "dynamic", "shuffled", "zero")}
