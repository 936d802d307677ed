"""From vision features to the language model's width: OpenVLA's `fused-gelu-mlp`."""

from __future__ import annotations

from torch import Tensor, nn


class Projector(nn.Module):
    """[B, P, vision] → [B, P, llm] through 4x the vision width; biases and exact GELUs."""

    def __init__(self, vision_width: int, llm_width: int) -> None:
        super().__init__()
        wide = 4 * vision_width
        self.projector = nn.Sequential(
            nn.Linear(vision_width, wide),
            nn.GELU(),
            nn.Linear(wide, llm_width),
            nn.GELU(),
            nn.Linear(llm_width, llm_width),
        )
        for linear in self.projector[::2]:  # keeps the size of what passes through
            nn.init.normal_(linear.weight, std=(2 / linear.in_features) ** 0.5)
            nn.init.zeros_(linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        return self.projector(features)
