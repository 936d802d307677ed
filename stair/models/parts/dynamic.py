"""Dynamic encoders: a clip becomes a few tokens that say what moves.

Takes uint8 clips [B, T, 3, H, W], hands on [B, tokens, width], every token normalised. Encoders are frozen:
always in eval mode whatever `train()` is called, never with gradients, in no optimiser and no checkpoint.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stair.errors import StairError
from stair.models.config import DynamicConfig


class FrozenEncoder(nn.Module):
    """What every dynamic encoder shares: it stays frozen."""

    def train(self, mode: bool = True) -> FrozenEncoder:
        """Stays in eval mode: a teacher with dropout would be a noisy target."""
        return super().train(False)


class MockEncoder(FrozenEncoder):
    """A fixed random projection of the pooled present frame (token 0) and of its changes (the others).

    Deterministic by seed, sees motion, needs no weights. For pipelines and small models; the tokens carry
    no learned meaning.
    """

    still: Tensor
    motion: Tensor

    def __init__(self, config: DynamicConfig, frames: int) -> None:
        super().__init__()
        self.config = config
        self.frames = frames
        pixels = 3 * config.grid**2
        generator = torch.Generator().manual_seed(config.seed)
        for name, size in (("still", pixels), ("motion", pixels * (frames - 1))):
            count = 1 if name == "still" else config.tokens - 1
            matrix = torch.randn(size, count * config.width, generator=generator, device="cpu") * size**-0.5
            self.register_buffer(name, matrix, persistent=False)

    @torch.no_grad()
    def forward(self, clips: Tensor) -> Tensor:
        batch, frames = clips.shape[:2]
        pooled = F.adaptive_avg_pool2d(clips.flatten(0, 1).float(), self.config.grid)
        pooled = pooled.reshape(batch, frames, -1) / 127.5 - 1
        still = pooled[:, frames // 2] @ self.still
        motion = (pooled[:, 1:] - pooled[:, :-1]).flatten(1) @ self.motion
        tokens = torch.cat([still, motion], dim=1).view(batch, self.config.tokens, self.config.width)
        # The floor keeps a still scene's motion token near zero instead of amplifying noise to unit size.
        return F.layer_norm(tokens, tokens.shape[-1:], eps=1e-4)


def build_encoder(config: DynamicConfig, frames: int) -> FrozenEncoder:
    """Makes the encoder that the configuration names."""
    match config.kind:
        case "mock":
            return MockEncoder(config, frames)
        case "univam":
            raise StairError(
                "the UniVAM encoder is not part of this version",
                hint="model.dynamic.kind mock trains the pipeline with a stand-in encoder",
            )
