"""The learning rate, the groups and the gradient norm."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stair.errors import StairError, UsageError
from stair.train.config import OptimizerConfig
from stair.train.optim import clip_gradients, lr_at, make_optimizer, set_rate

PEAK = 2e-3


def test_warm_up_climbs_to_the_peak_in_its_last_step() -> None:
    config = OptimizerConfig(learning_rate=PEAK, warmup_steps=4)
    assert [lr_at(step, config, 100) for step in range(6)] == pytest.approx(
        [PEAK / 4, PEAK / 2, 3 * PEAK / 4, PEAK, PEAK, PEAK]
    )


def test_cosine_falls_from_the_peak_through_half_to_its_final_share() -> None:
    config = OptimizerConfig(learning_rate=PEAK, warmup_steps=10, schedule="cosine", final_share=0.1)
    assert lr_at(10, config, 110) == pytest.approx(PEAK)
    assert lr_at(60, config, 110) == pytest.approx(PEAK * 0.55)
    assert lr_at(110, config, 110) == pytest.approx(PEAK * 0.1)
    assert lr_at(500, config, 110) == pytest.approx(PEAK * 0.1)


def test_a_schedule_shorter_than_its_warm_up_is_no_division_by_zero() -> None:
    config = OptimizerConfig(learning_rate=PEAK, warmup_steps=10, schedule="cosine")
    assert lr_at(10, config, 5) == pytest.approx(PEAK)


def test_vectors_and_biases_do_not_decay_and_frozen_parameters_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    model[2].weight.requires_grad_(False)
    optimizer = make_optimizer(model, OptimizerConfig(weight_decay=0.5))
    decayed, plain = optimizer.param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.5, 0.0)
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3)]
    assert len(plain["params"]) == 4


def test_a_part_may_have_a_rate_of_its_own_and_keeps_its_share_of_the_schedule() -> None:
    model = nn.ModuleDict({"projector": nn.Linear(3, 4), "action_model": nn.Linear(4, 2)})
    config = OptimizerConfig(learning_rate=PEAK, weight_decay=0.1, rates={"action_model": 5 * PEAK})
    optimizer = make_optimizer(model, config)
    assert len(optimizer.param_groups) == 4
    set_rate(optimizer, PEAK / 2)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert [rates[id(p)] for p in model["projector"].parameters()] == pytest.approx([PEAK / 2] * 2)
    assert [rates[id(p)] for p in model["action_model"].parameters()] == pytest.approx([5 * PEAK / 2] * 2)


def test_a_rate_for_what_does_not_train_is_refused_with_what_does() -> None:
    model = nn.ModuleDict({"projector": nn.Linear(3, 4)})
    with pytest.raises(UsageError, match="'action_modle', which does not train") as caught:
        make_optimizer(model, OptimizerConfig(rates={"action_modle": 1e-4}))
    assert "projector" in caught.value.hint


def test_a_model_with_nothing_to_train_is_refused() -> None:
    with pytest.raises(StairError, match="nothing is left to train"):
        make_optimizer(nn.Linear(2, 2).requires_grad_(False), OptimizerConfig())


@pytest.mark.parametrize(("most", "left"), [(1.0, 1.0), (0.0, 5.0), (10.0, 5.0)])
def test_clipping_reports_the_norm_before_and_leaves_at_most_the_wanted(most: float, left: float) -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.AdamW([weight])
    weight.grad = torch.tensor([3.0, 4.0])
    assert float(clip_gradients(optimizer, most)) == pytest.approx(5.0)
    assert float(weight.grad.norm()) == pytest.approx(left, rel=1e-4)
