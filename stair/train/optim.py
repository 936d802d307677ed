"""AdamW over what trains, its learning rate, and gradient clipping.

Takes a (possibly sharded) model, hands on an optimizer whose rate is set anew for every step by the pure
`lr_at`: there is no scheduler whose state could be lost on a resume.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from stair.errors import StairError
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
    """AdamW (Loshchilov & Hutter 2019); vectors and biases do not decay, frozen parameters are left out."""
    decay, plain = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (plain if parameter.ndim <= 1 or name.endswith(".bias") else decay).append(parameter)
    if not decay and not plain:
        raise StairError("nothing is left to train", hint="look at the freeze switches")
    groups = [{"params": decay, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=config.betas,
        fused=True,  # on CPU too: one pass over each tensor instead of five
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_gradients(optimizer: torch.optim.Optimizer, most: float) -> Tensor:
    """Scales the gradients to a total norm of at most `most` (0: any). Returns the norm before, a scalar.

    The norm is that of the whole model's gradient also when every process holds only a shard of it.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
    if most > 0:
        torch.nn.utils.clip_grads_with_norm_(parameters, most, norm)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
