"""How stage 2 begins, and that what it trains is what is deployed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import stair.train.run
from stair.models.parts import flow
from stair.models.saved import load_model
from stair.train.stage2 import target_share, warms
from stair.train.trainer import Trainer
from tests.models.small import make_batch
from tests.train.small import column, metrics, settings_of, train_here


def test_first_the_oformer_warms_then_the_target_fades(tmp_path: Path) -> None:
    flags = {"stage2__warm_steps": 3, "stage2__mix_target": 0.8, "stage2__mix_steps": 4}
    config = settings_of(tmp_path, tmp_path, stage="stage2", **flags)
    assert [warms(step, config) for step in range(5)] == [True, True, True, False, False]
    shares = [target_share(step, config) for step in range(9)]
    assert shares == pytest.approx([0, 0, 0, 0.8, 0.6, 0.4, 0.2, 0, 0])
    stage1 = settings_of(tmp_path, tmp_path, stage="stage1", **flags)
    assert not warms(0, stage1)
    assert target_share(5, stage1) == 0


def test_warm_steps_leave_all_but_the_oformer_and_a_resume_amid_them_is_exact(
    tmp_path: Path, data: Path, finished: Path
) -> None:
    flags = {
        "stage": "stage2",
        "init_from": str(finished),
        "stage2__warm_steps": 3,
        "stage2__mix_target": 0.9,
        "stage2__mix_steps": 2,
    }
    assert train_here(settings_of(tmp_path / "a", data, steps=6, checkpoint__every=3, **flags)) == 0
    before = load_file(finished / "checkpoints/step-0000012/model/model.safetensors")
    warm = load_file(tmp_path / "a/checkpoints/step-0000003/model/model.safetensors")
    after = load_file(tmp_path / "a/checkpoints/step-0000006/model/model.safetensors")
    assert {key.split(".")[0] for key in warm if not torch.equal(before[key], warm[key])} == {"oformer"}
    assert {key.split(".")[0] for key in after if not torch.equal(warm[key], after[key])} > {
        "oformer",
        "action_model",
        "llm_backbone",
    }
    assert column(tmp_path / "a", "target_share") == pytest.approx([0, 0, 0, 0.9, 0.45, 0])
    assert "loss_align" in metrics(tmp_path / "a")[0]

    assert train_here(settings_of(tmp_path / "b", data, steps=2, **flags)) == 0
    assert train_here(settings_of(tmp_path / "b", data, steps=6, **flags)) == 0
    assert column(tmp_path / "b", "loss") == column(tmp_path / "a", "loss")


def test_a_stage_two_folder_deploys_bit_for_bit_what_was_trained(
    tmp_path: Path, data: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers: list[Trainer] = []

    class Kept(Trainer):
        def __init__(self, *words: object) -> None:
            super().__init__(*words)  # type: ignore[arg-type]
            trainers.append(self)

    monkeypatch.setattr(stair.train.run, "Trainer", Kept)
    config = settings_of(tmp_path / "run", data, stage="stage2", init_from=str(finished), steps=3)
    assert train_here(config) == 0
    trained = trainers[0].model.train()
    deployed, _ = load_model(tmp_path / "run")
    assert deployed.dynamic_encoder is None

    batch, none = make_batch(), torch.zeros(4, dtype=torch.bool)
    draws = trained.draw(4, torch.Generator().manual_seed(0))  # type: ignore[operator]
    draws.drop_cognition, draws.drop_dynamic = none, none
    loss = trained(batch, draws, "oformer")["action"]
    with torch.no_grad():
        noisy, target = flow.noisy_and_target(batch.actions, draws.noise, draws.time)
        field = deployed.velocity(batch.images, batch.token_ids, batch.token_mask)  # type: ignore[operator]
        answer = field(noisy, draws.time)
    assert answer.abs().max() > 0
    assert torch.equal(flow.masked_error(answer, target, batch.action_mask), loss.detach())
