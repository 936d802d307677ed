"""AdamW over what trains, its learning rate, and gradient clipping.

Takes a (possibly sharded) model, hands on an optimizer whose rate is set anew for every step by the pure
`lr_at`: there is no scheduler whose state could be lost on a resume.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from stair.errors import StairError, UsageError
from stair.train.config import OptimizerConfig


def lr_at(step: int, config: OptimizerConfig, total: int) -> float:
    """The learning rate of the step after `step` finished ones, of `total`.

    Warm-up climbs linearly and reaches the peak in its last step; cosine then falls to `final_share` of it
    (Loshchilov & Hutter 2017, without restarts).
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    progress = min(1.0, (step - config.warmup_steps) / max(1, total - config.warmup_steps))
    share = config.final_share + (1 - config.final_share) * 0.5 * (1 + math.cos(math.pi * progress))
    return config.learning_rate * share


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019); vectors and biases do not decay, frozen parameters are left out.

    One group per learning rate and decay; `share` of a group is its part of the common rate. Raises
    UsageError for a rate of a part that does not train.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    learning = set()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        part = name.split(".")[0]
        learning.add(part)
        share = config.rates.get(part, config.learning_rate) / config.learning_rate
        decays = parameter.ndim > 1 and not name.endswith(".bias")
        groups.setdefault((share, config.weight_decay if decays else 0.0), []).append(parameter)
    if not groups:
        raise StairError("nothing is left to train", hint="look at the freeze switches")
    for part in config.rates:
        if part not in learning:
            raise UsageError(
                f"optimizer.rates names '{part}', which does not train in this run",
                hint=f"what trains: {', '.join(sorted(learning))}",
            )
    return torch.optim.AdamW(
        [
            {"params": params, "weight_decay": decay, "share": share}
            for (share, decay), params in groups.items()
        ],
        lr=config.learning_rate,
        betas=config.betas,
        fused=True,  # on CPU too: one pass over each tensor instead of five
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the common learning rate; every group takes its share of it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]


def clip_gradients(optimizer: torch.optim.Optimizer, most: float) -> Tensor:
    """Scales the gradients to a total norm of at most `most` (0: any). Returns the norm before, a scalar.

    The norm is that of the whole model's gradient also when every process holds only a shard of it.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
    if most > 0:
        torch.nn.utils.clip_grads_with_norm_(parameters, most, norm)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
