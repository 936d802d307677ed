"""How much arithmetic a sample costs, and what share of a GPU's peak a run reaches (MFU); pure.

Takes the model's sizes and what trains, hands on floating-point operations (one multiply-add is two).
Counted are matrix products, as torch's FlopCounterMode does: a forward pass once; a backward pass once for
the gradient of what came in and once for that of the weights, each only where it is needed. So a frozen part
costs its forward alone, or twice that when something before it trains. Not counted: what activation
checkpointing computes again, padding, the frozen dynamic encoder, the auxiliary read-outs. Attention counts
whole, without a discount for its causal half, as in PaLM's MFU (Chowdhery et al. 2022, appendix B).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stair.data.config import InputConfig
from stair.models.base import Condition
from stair.models.config import HeadConfig, LlamaConfig, ModelConfig, OformerConfig, TowerConfig
from stair.train.stages import LAST_LLM_LAYER

PEAKS = {
    "GH200": 989e12,
    "H200 NVL": 835e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "B200": 2250e12,
    "L40S": 362e12,
}
"""Dense bf16 FLOP/s by a part of the name that the driver tells, the more special ones first, from the data
sheets of NVIDIA, whose numbers "with sparsity" are halved."""


@dataclass(frozen=True)
class Work:
    """What a run computes, to be held against what its processes could."""

    model: ModelConfig
    inputs: InputConfig
    condition: Condition
    learning: frozenset[str]
    """What stages.trainable_parts says."""
    peak: float = 0.0
    """FLOP/s of all processes together; 0: unknown."""

    def utilisation(self, samples: float, tokens: float, seconds: float) -> float | None:
        """MFU of so many samples, with so many tokens in the LLM, in so many seconds; None when the peak is
        not known."""
        if not (self.peak and samples and seconds):
            return None
        text = tokens / samples - patches(self.model.vision.dino, self.inputs)
        forward = forward_flops(self.model, self.inputs, self.condition, text)
        return samples * training_flops(forward, self.learning, self.model.llm.depth) / seconds / self.peak


def peak_of(name: str) -> float:
    """Dense bf16 FLOP/s of the GPU that the driver calls `name`; 0 when it is not in the table."""
    return next((peak for part, peak in PEAKS.items() if part in name), 0.0)


def training_flops(forward: dict[str, float], learning: Iterable[str], llm_depth: int) -> float:
    """Forward and backward of one sample, from the forward of each part in the order data passes through."""
    learns, reached, total = set(learning), False, 0.0
    for part, flops in forward.items():
        if part == "projection":  # a side branch of one layer: no gradient passes through it
            total += flops * (2 if part in learns else 1)
        elif part == "llm_backbone" and LAST_LLM_LAYER in learns:
            # The embedding trains too, so gradients pass through every layer.
            total += flops * (2 + 1 / llm_depth)
            reached = True
        else:
            total += flops * (3 if part in learns else 2 if reached else 1)
            reached = reached or part in learns
    return total


def forward_flops(
    model: ModelConfig, inputs: InputConfig, condition: Condition, text: float
) -> dict[str, float]:
    """One sample's forward pass by part, in the order of the data; `text` is its number of prompt tokens."""
    vision, llm, dynamic = model.vision, model.llm, model.dynamic
    seen, wide = patches(vision.dino, inputs), vision.dino.width + vision.siglip.width
    flops = {
        "vision_backbone": _tower(vision.dino, inputs) + _tower(vision.siglip, inputs),
        "projector": 2.0 * seen * (wide * 4 * wide + 4 * wide * llm.width + llm.width**2),
        "llm_backbone": _llama(llm, seen + text),
    }
    if condition != "zero":
        flops["projection"] = 2.0 * dynamic.tokens * dynamic.width * llm.width
    if condition == "oformer":
        flops["oformer"] = _oformer(model.oformer, dynamic.tokens, llm.width, text - 1)
    action = inputs.action
    flops["action_model"] = _head(model.head, dynamic.tokens, llm.width, action.chunk, action.dim)
    return flops


def patches(tower: TowerConfig, inputs: InputConfig) -> int:
    """Image tokens in the LLM."""
    return (inputs.image.size // tower.patch) ** 2


def _tower(tower: TowerConfig, inputs: InputConfig) -> float:
    count, width = patches(tower, inputs), tower.width
    tokens = count + tower.registers + tower.class_token
    if tower.stem == "patch":
        stem = 2.0 * count * 3 * tower.patch**2 * width
    else:
        half = tower.patch // 2
        inner = (inputs.image.size // half) ** 2 * 3 * half**2 * (width // 2)
        stem = 2.0 * (inner + count * 9 * (width // 2) * width)
    block = 2.0 * tokens * (4 * width**2 + 2 * width * tower.mlp_width) + 4.0 * tokens**2 * width
    return stem + (tower.depth - 1) * block  # the last block is not computed


def _llama(llm: LlamaConfig, tokens: float) -> float:
    weights = 4 * llm.width**2 + 3 * llm.width * llm.mlp_width
    return llm.depth * (2.0 * tokens * weights + 4.0 * tokens**2 * llm.width)


def _oformer(config: OformerConfig, queries: int, llm_width: int, memory: float) -> float:
    width = config.width
    among = 2.0 * queries * 4 * width**2 + 4.0 * queries**2 * width
    across = 2.0 * (queries + memory) * 2 * width**2 + 4.0 * queries * memory * width
    mlp = 2.0 * queries * 2 * width * config.mlp_width
    ends = 2.0 * (memory + queries) * llm_width * width
    return ends + config.depth * (among + across + mlp)


def _head(head: HeadConfig, dynamic: int, llm_width: int, chunk: int, dim: int) -> float:
    width, tokens = head.width, chunk + 1
    conditions = 2.0 * (1 + dynamic) * llm_width * width
    ends = 2.0 * (chunk * dim * width + 256 * width + width**2 + tokens * width * dim)
    among = 2.0 * tokens * 12 * width**2 + 4.0 * tokens**2 * width
    across = 2.0 * (tokens + dynamic) * 2 * width**2 + 4.0 * tokens * dynamic * width
    return conditions + head.repeats * (ends + head.depth * (among + across))
