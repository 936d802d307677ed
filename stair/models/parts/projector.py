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
        for module in self.projector:  # keeps the size of what passes through
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=(2 / module.in_features) ** 0.5)
                nn.init.zeros_(module.bias)

    def forward(self, features: Tensor) -> Tensor:
        return self.projector(features)
