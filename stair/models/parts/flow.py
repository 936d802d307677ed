"""Flow matching between noise and action chunks (Lipman et al. 2023), t = 0 noise, t = 1 data.

Pure functions: what is drawn, where on the straight path a sample stands, what the head should answer, and
how a chunk is integrated from noise.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stair.models.config import FlowConfig


def draw_times(config: FlowConfig, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Times in [margin, 1 - margin], Beta(alpha, 1) towards the data end or mirrored towards the noise."""
    time = torch.rand(shape, generator=generator) ** (1 / config.alpha)  # inverse of Beta(alpha, 1)'s CDF
    if config.bias == "noise":
        time = 1 - time
    return time * (1 - 2 * config.margin) + config.margin


def noisy_and_target(actions: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """The point (1 - t) noise + t action of each path and its velocity action - noise."""
    t = time[..., None, None]
    return (1 - t) * noise + t * actions, actions - noise


def masked_error(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Squared error [..., B, K, D], averaged over the real steps of each sample, then over samples.

    Every sample weighs the same, so the mean over equal parts of a batch is the mean over the batch.
    `mask` is [B, K]; a sample without any real step counts as zero.
    """
    error = (predicted - target).square().mean(-1)
    weight = mask.to(error.dtype)
    return ((error * weight).sum(-1) / weight.sum(-1).clamp(min=1)).mean()


def integrate(velocity: Callable[[Tensor, Tensor], Tensor], noise: Tensor, steps: int) -> Tensor:
    """Euler from noise [B, K, D] to a chunk in `steps` equal intervals, at t = 0, 1/n … (n-1)/n."""
    x = noise
    for i in range(steps):
        time = torch.full((len(x),), i / steps, device=x.device)
        x = x + velocity(x, time) / steps
    return x
