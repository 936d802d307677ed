"""What training and serving may expect of any policy model.

`models/stair.py` is the first of them. A model is single-device code: it knows nothing of sharding,
precision or checkpoints, and names its parts so that stages and savers can speak of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from stair.data.sample import Batch

Condition = Literal["dynamic", "shuffled", "zero", "oformer"]
"""What feeds the head's dynamic tokens: the true clip, another sample's clip, the learned null token,
or the oformer's prediction."""


@dataclass
class Draws:
    """All randomness of one forward pass, drawn for the whole global batch so that any number of
    processes computes the same thing."""

    noise: Tensor
    """float32 [R, B, K, 7], standard normal"""
    time: Tensor
    """float32 [R, B] in (0, 1); 0 is noise, 1 is data"""
    drop_cognition: Tensor
    """bool [B]"""
    drop_dynamic: Tensor
    """bool [B]"""
    see_target: Tensor
    """bool [B]: stage 2 shows the head the oformer's target instead of its prediction"""

    def part(self, rows: slice) -> Draws:
        """The draws of some rows of the batch."""
        each = (self.drop_cognition[rows], self.drop_dynamic[rows], self.see_target[rows])
        return Draws(self.noise[:, rows], self.time[:, rows], *each)

    def to(self, device: torch.device | str) -> Draws:
        """The same draws on another device."""
        each = (self.noise, self.time, self.drop_cognition, self.drop_dynamic, self.see_target)
        return Draws(*(t.to(device) for t in each))


class PolicyModel(Protocol):
    """A policy as the trainer, the saver and the server see it (it is also an nn.Module)."""

    def parts(self) -> dict[str, nn.Module]:
        """The named parts that stages load, freeze and save: vision_backbone, llm_backbone, …"""
        ...

    def blocks(self) -> list[nn.Module]:
        """The repeated blocks, the units of sharding, activation checkpointing and compilation."""
        ...

    def draw(self, batch_size: int, generator: torch.Generator, target_share: float = 0.0) -> Draws:
        """Draws a global batch's randomness on the CPU from `generator`; each sample sees the target with
        probability `target_share`."""
        ...

    def forward(
        self, batch: Batch, draws: Draws, condition: Condition, warm: bool = False
    ) -> dict[str, Tensor]:
        """Scalar losses: `loss` is what is minimised (mean over samples), the others are its parts.

        `warm` lets only the oformer learn.
        """
        ...

    def velocity(
        self,
        images: Tensor,
        token_ids: Tensor,
        token_mask: Tensor,
        condition: Condition = "oformer",
        clips: Tensor | None = None,
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """The velocity field of these observations: (x [..., B, K, 7], t [..., B]) → velocities."""
        ...

    def predict(
        self,
        images: Tensor,
        token_ids: Tensor,
        token_mask: Tensor,
        noise: Tensor,
        steps: int | None = None,
        condition: Condition = "oformer",
        clips: Tensor | None = None,
    ) -> Tensor:
        """Normalised chunks of the noise's shape [..., B, K, 7] from uint8 images [B, 3, S, S]; needs no
        clip unless the condition is `dynamic`."""
        ...
