"""Dynamic encoders: a clip becomes a few tokens that say what moves.

Takes uint8 clips [B, T, 3, H, W], hands on float32 [B, tokens, width], every token normalised. Encoders are
frozen: always in eval mode whatever `train()` is called, never with gradients, in no optimiser, no checkpoint
and no shard. What they say of a clip depends on nothing but the clip, so that it may be cached.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stair.data.config import ClipConfig
from stair.errors import UsageError
from stair.models.config import DynamicConfig


class FrozenEncoder(nn.Module):
    """What every dynamic encoder shares: it stays frozen, and the trainer's autocast does not reach it."""

    def __init__(self) -> None:
        super().__init__()
        self.train(False)

    def train(self, mode: bool = True) -> FrozenEncoder:
        """Stays in eval mode: a teacher with dropout would be a noisy target."""
        return super().train(False)

    @property
    def identity(self) -> dict[str, Any]:
        """Plain values that change when the tokens would, for the manifest of a token cache."""
        raise NotImplementedError

    @torch.no_grad()
    def forward(self, clips: Tensor) -> Tensor:
        with torch.autocast(clips.device.type, enabled=False):
            return self.encode(clips)

    def encode(self, clips: Tensor) -> Tensor:
        """The tokens, float32 [B, tokens, width]."""
        raise NotImplementedError


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

    @property
    def identity(self) -> dict[str, Any]:
        config = self.config
        return {
            "kind": "mock",
            "seed": config.seed,
            "grid": config.grid,
            "tokens": config.tokens,
            "width": config.width,
        }

    def encode(self, clips: Tensor) -> Tensor:
        batch, frames = clips.shape[:2]
        pooled = F.adaptive_avg_pool2d(clips.flatten(0, 1).float(), self.config.grid)
        pooled = pooled.reshape(batch, frames, -1) / 127.5 - 1
        still = pooled[:, frames // 2] @ self.still
        motion = (pooled[:, 1:] - pooled[:, :-1]).flatten(1) @ self.motion
        tokens = torch.cat([still, motion], dim=1).view(batch, self.config.tokens, self.config.width)
        # The floor keeps a still scene's motion token near zero instead of amplifying noise to unit size.
        return F.layer_norm(tokens, tokens.shape[-1:], eps=1e-4)


def build_encoder(config: DynamicConfig, clip: ClipConfig) -> FrozenEncoder:
    """Makes the encoder that the configuration names, for clips of that form."""
    match config.kind:
        case "mock":
            return MockEncoder(config, clip.frames)
        case "univam":
            from stair.models.parts.univam import UnivamEncoder

            return UnivamEncoder(config, clip)


def refuse_other_encoder(encoder: FrozenEncoder | None, cached: Mapping[str, Any] | None) -> None:
    """Raises UsageError when cached tokens come from another encoder than the model's.

    cached: the identity in the cache's manifest, or None where no cache is used.
    """
    if encoder is None or cached is None:
        return
    mine = encoder.identity
    for name in [*mine, *(name for name in cached if name not in mine)]:
        if mine.get(name) != cached.get(name):
            raise UsageError(
                f"the token cache was made by another encoder: its {name} is {cached.get(name)}, "
                f"model.dynamic has {mine.get(name)}",
                hint="the model.dynamic it was made with, or tools/cache-dynamics into another folder",
            )
