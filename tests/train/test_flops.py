"""What a sample costs, held against torch's own counter."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from stair.data.config import InputConfig
from stair.models.base import Condition
from stair.models.build import build_model
from stair.models.config import AuxiliaryConfig, ModelConfig
from stair.train.config import FreezeConfig
from stair.train.flops import Work, forward_flops, peak_of, training_flops
from stair.train.stages import STAGES, VLM, freeze_parts, trainable_parts
from tests.models.small import CONFIG, INPUTS, make_batch

PLAIN = replace(CONFIG, auxiliary=AuxiliaryConfig())
STEM = replace(
    PLAIN, vision=replace(PLAIN.vision, dino=replace(PLAIN.vision.dino, stem="convolution", class_token=True))
)


def counted(model: torch.nn.Module, condition: Condition, *, backward: bool = False) -> dict[str, float]:
    """FLOPs of one sample by part, as torch counts them."""
    batch = make_batch(1)
    draws = model.draw(1, torch.Generator().manual_seed(0))  # type: ignore[operator]
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        loss = model(batch, draws, condition)["loss"]
        if backward:
            loss.backward()
    return {
        name.removeprefix("Stair."): float(sum(by_operator.values()))
        for name, by_operator in counter.get_flop_counts().items()
    }


@pytest.mark.parametrize("config", [PLAIN, STEM], ids=["patch", "convolution"])
@pytest.mark.parametrize("condition", ["dynamic", "oformer"])
def test_the_forward_of_every_part_is_what_torch_counts(config: ModelConfig, condition: Condition) -> None:
    model = build_model(config, INPUTS)
    found = counted(model, condition)
    for part, flops in forward_flops(config, INPUTS, condition, 6).items():
        assert flops == found[part], part


@pytest.mark.parametrize(
    "freeze",
    [FreezeConfig(), FreezeConfig(True, False), FreezeConfig(True, True), FreezeConfig(True, True, False)],
)
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_forward_and_backward_are_what_torch_counts_but_for_first_layers(
    freeze: FreezeConfig, stage: str
) -> None:
    learning = trainable_parts(STAGES[stage], freeze)
    model, condition = build_model(PLAIN, INPUTS), STAGES[stage].condition
    freeze_parts(model, learning)
    forward = forward_flops(PLAIN, INPUTS, condition, 6)
    encoder = counted(model, condition).get("dynamic_encoder", 0.0)
    found = counted(model, condition, backward=True)["Global"] - encoder
    assert training_flops(forward, learning, PLAIN.llm.depth) == pytest.approx(found, rel=0.06)


def test_the_full_size_llm_costs_two_flops_per_weight_and_token_and_a_little_for_attention() -> None:
    forward = forward_flops(ModelConfig(), InputConfig(), "dynamic", 24)
    weights = 6_738_939_904 - 2 * 32064 * 4096 - 65 * 4096  # without embedding, head and norms
    ratio = forward["llm_backbone"] / (2 * weights * (256 + 24))
    assert 1.0 < ratio < 1.02


def test_utilisation_is_work_over_time_and_peak() -> None:
    learning = frozenset({*VLM, "projection", "action_model"})
    work = Work(PLAIN, INPUTS, "dynamic", learning, peak=1e12)
    flops = training_flops(forward_flops(PLAIN, INPUTS, "dynamic", 6), learning, PLAIN.llm.depth)
    assert work.utilisation(8, 8 * (16 + 6), 2.0) == pytest.approx(8 * flops / 2.0 / 1e12)
    assert replace(work, peak=0.0).utilisation(8, 8 * 22, 2.0) is None


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("Some Other GPU", 0.0),
    ],
)
def test_peaks_are_known_by_the_drivers_names(name: str, peak: float) -> None:
    assert peak_of(name) == peak
