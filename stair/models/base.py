"""What training and serving may expect of any policy model.

`models/stair.py` is the first of them. A model is single-device code: it knows nothing of sharding,
precision or checkpoints, and names its parts so that stages and savers can speak of them.
"""

from __future__ import annotations

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

    def part(self, rows: slice) -> Draws:
        """The draws of some rows of the batch."""
        return Draws(
            self.noise[:, rows], self.time[:, rows], self.drop_cognition[rows], self.drop_dynamic[rows]
        )

    def to(self, device: torch.device | str) -> Draws:
        """The same draws on another device."""
        return Draws(*(t.to(device) for t in (self.noise, self.time, self.drop_cognition, self.drop_dynamic)))


class PolicyModel(Protocol):
    """A policy as the trainer, the saver and the server see it (it is also an nn.Module)."""

    def parts(self) -> dict[str, nn.Module]:
        """The named parts that stages load, freeze and save: vision_backbone, llm_backbone, …"""
        ...

    def blocks(self) -> list[nn.Module]:
        """The repeated blocks, the units of sharding, activation checkpointing and compilation."""
        ...

    def draw(self, batch_size: int, generator: torch.Generator) -> Draws:
        """Draws a global batch's randomness on the CPU from `generator`."""
        ...

    def forward(self, batch: Batch, draws: Draws, condition: Condition) -> dict[str, Tensor]:
        """Scalar losses: `loss` is what is minimised (mean over samples), the others are its parts."""
        ...

    def predict(
        self,
        images: Tensor,
        token_ids: Tensor,
        token_mask: Tensor,
        noise: Tensor,
        steps: int | None = None,
        condition: Condition = "oformer",
    ) -> Tensor:
        """Normalised chunks [B, K, 7] from uint8 images [B, 3, S, S]; needs no clip."""
        ...
