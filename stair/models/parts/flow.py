"""Flow matching between noise and action chunks (Lipman et al. 2023), t = 0 noise, t = 1 data.

Pure functions: what is drawn, where on the straight path a sample stands, what the head should answer, and
how a chunk is integrated from noise. A velocity field is any function of points and times, so two heads can
be mixed by adding theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from stair.errors import UsageError
from stair.models.config import FlowConfig

Velocity = Callable[[Tensor, Tensor], Tensor]
"""(points [..., B, K, D], times [..., B]) → velocities, float32 [..., B, K, D]."""


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


def euler_times(steps: int, rule: str = "intervals") -> list[float]:
    """The times between which Euler steps; the field is evaluated at all but the last.

    Raises UsageError for fewer steps than the rule of FlowConfig.euler needs.
    """
    intervals = steps if rule == "intervals" else steps - 1
    if intervals < 1:
        raise UsageError(
            f"{steps} flow steps by the rule '{rule}' are no step at all",
            hint="flow.steps 1 or more; by the rule 'wog' 2 or more",
        )
    return [i / intervals for i in range(intervals + 1)]


def integrate(velocity: Velocity, noise: Tensor, steps: int, rule: str = "intervals") -> Tensor:
    """Euler from noise [..., B, K, D] to chunks of the same shape, through `euler_times`."""
    x = noise
    for now, then in pairwise(euler_times(steps, rule)):
        time = torch.full(x.shape[:-2], now, device=x.device)
        x = x + (then - now) * velocity(x, time)
    return x
