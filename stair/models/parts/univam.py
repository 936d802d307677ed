"""UniVAM, the published dynamic encoder: a clip becomes two tokens of 4096.

    clip [B, 5, 3, 256, 256] ─► Wan2.2 VAE ─► latents [B, 48, 2, 16, 16] ─► vae_proj ─► [B, 128, 4096]
                                          query_tokens ─► 6 blocks of attention to these ─► [B, 2, 4096]

Takes uint8 clips, hands on float32 tokens, each normalised. Names of weights are the checkpoint's, sizes are
read off its shapes. Two surprises: the visual tokens have no positions, because the released weights were
trained without; and the weights live outside the module tree, mapped from their files until a first clip
comes, so that no optimiser, checkpoint, shard or `train()` can reach them and a run that reads cached tokens
never loads them.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stair.data.config import ClipConfig
from stair.models.config import DynamicConfig
from stair.models.parts.dynamic import FrozenEncoder
from stair.models.parts.wan_vae import WanVaeConfig

NORM_EPSILON = 1e-7
"""Of the three norms in a block; the last norm has 1e-6."""
SAMPLED = 4096
"""Values at either end of a weight that its fingerprint looks at."""


@dataclass(frozen=True)
class ProjectorShape:
    """The sizes of a Projector.pth; the defaults are the released ones."""

    tokens: int = 2
    width: int = 4096
    memory: int = 4096
    """Width of the visual tokens."""
    inner: int = 16384
    layers: int = 6
    output: int = 4096
    heads: int = 8
    """Not to be seen in any shape; config.yaml says it."""


class QueryAttention(nn.Module):
    """Queries [B, Q, width] attend to [B, N, memory]; only the output has a bias."""

    def __init__(self, width: int, memory: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(memory, width, bias=False)
        self.to_v = nn.Linear(memory, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        q, k, v = (
            projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projected in (self.to_q(x), self.to_k(memory), self.to_v(memory))
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.to_out[0](mixed.transpose(1, 2).flatten(2))


class GatedGelu(nn.Module):
    """One half of a projection, gated by the GELU of the other (GEGLU, Shazeer 2020)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """A gated layer and the way back; what stood between them was dropout, whose number stays free."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([GatedGelu(width, inner), nn.Identity(), nn.Linear(inner, width)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.net:
            x = layer(x)
        return x


class QueryBlock(nn.Module):
    """Self-attention among the queries, attention to the visual tokens, feed-forward; pre-norm, the norms
    without weights (diffusers' BasicTransformerBlock)."""

    def __init__(self, shape: ProjectorShape) -> None:
        super().__init__()
        self.attn1 = QueryAttention(shape.width, shape.width, shape.heads)
        self.attn2 = QueryAttention(shape.width, shape.memory, shape.heads)
        self.ff = FeedForward(shape.width, shape.inner)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        normed = _normed(x, NORM_EPSILON)
        x = x + self.attn1(normed, normed)
        x = x + self.attn2(_normed(x, NORM_EPSILON), memory)
        return x + self.ff(_normed(x, NORM_EPSILON))


class QformerProjector(nn.Module):
    """Learned queries read the visual tokens [B, N, memory] and become [B, tokens, output]."""

    def __init__(self, shape: ProjectorShape) -> None:
        super().__init__()
        self.query_tokens = nn.Parameter(torch.zeros(1, shape.tokens, shape.width))
        self.qformer_layers = nn.ModuleList(
            nn.ModuleDict({"cross_attn": QueryBlock(shape)}) for _ in range(shape.layers)
        )
        self.output_align_mlp = nn.Linear(shape.width, shape.output)

    def forward(self, memory: Tensor) -> Tensor:
        x = self.query_tokens.expand(len(memory), -1, -1)
        for layer in self.qformer_layers:
            x = layer["cross_attn"](x, memory)  # type: ignore[index]
        return _normed(self.output_align_mlp(x), 1e-6)


def _normed(x: Tensor, epsilon: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=epsilon)


class Univam(nn.Module):
    """VAE encoder, its latents' statistics, vae_proj and projector, as read from their files."""

    def __init__(
        self, config: WanVaeConfig, vae: nn.Module, vae_proj: nn.Conv3d, projector: QformerProjector
    ) -> None:
        super().__init__()
        self.config, self.vae, self.vae_proj, self.projector = config, vae, vae_proj, projector
        # No buffers: they stay in fp32 when the weights are cast.
        self.latents_mean, self.latents_std = (
            torch.tensor(values).view(1, -1, 1, 1, 1) for values in (config.latents_mean, config.latents_std)
        )

    def forward(self, clips: Tensor, noise: Tensor | None = None) -> Tensor:
        """Tokens [B, tokens, width] of uint8 clips [B, T, 3, H, W]; `noise`, standard normal and of the
        latents' shape, takes a draw of the posterior instead of its mean."""
        dtype = self.vae_proj.weight.dtype
        pixels = ((clips.float() - 127.5) / 127.5).transpose(1, 2)
        late = -(pixels.shape[2] - 1) % self.config.temporal
        if late:  # the VAE takes 1 + 4k frames; the last one repeats
            pixels = torch.cat([pixels, pixels[:, :, -1:].expand(-1, -1, late, -1, -1)], dim=2)
        mean, log_variance = self.vae(pixels.to(dtype))
        latents = mean.float()
        if noise is not None:
            latents = latents + (0.5 * log_variance.float()).exp() * noise
        scaled = (latents - self.latents_mean.to(latents)) / self.latents_std.to(latents)
        visual = self.vae_proj(scaled.to(dtype)).flatten(2).transpose(1, 2)
        return self.projector(visual).float()

    def latents_shape(self, clips: Tensor) -> tuple[int, ...]:
        """Shape of one clip's latents: [z, 1 + T / 4, H / 16, W / 16]."""
        frames, _, height, width = clips.shape[1:]
        side, later = self.config.spatial, -(-(frames - 1) // self.config.temporal)
        return (self.config.z_dim, 1 + later, height // side, width // side)


class UnivamEncoder(FrozenEncoder):
    """The plug-in. Raises StairError, when made, for files that are missing or are not what is expected."""

    def __init__(self, config: DynamicConfig, clip: ClipConfig) -> None:
        super().__init__()
        from stair.models.parts.univam_files import read_univam

        self.config = config
        univam = read_univam(config, clip).requires_grad_(False).eval()
        self.held = (univam,)  # a tuple, which nn.Module does not look into
        self.fingerprint = fingerprint(univam)
        self.placed: tuple[torch.device, torch.dtype] | None = None

    @property
    def identity(self) -> dict[str, Any]:
        sampled = {"seed": self.config.seed} if self.config.posterior == "sample" else {}
        return {
            "kind": "univam",
            "posterior": self.config.posterior,
            **sampled,
            "tokens": self.config.tokens,
            "width": self.config.width,
            "weights": self.fingerprint,
        }

    def encode(self, clips: Tensor) -> Tensor:
        univam = self.univam_on(clips.device)
        if self.config.posterior == "mode":
            return univam(clips)
        shape = univam.latents_shape(clips)
        draws = [torch.randn(shape, generator=self.generator_of(clip), device="cpu") for clip in clips]
        return univam(clips, torch.stack(draws).to(clips.device))

    def generator_of(self, clip: Tensor) -> torch.Generator:
        """The randomness that belongs to a clip: the same in any batch, any process and any epoch."""
        content = clip.cpu().contiguous().numpy().tobytes()
        return torch.Generator().manual_seed(zlib.crc32(content, self.config.seed))

    def univam_on(self, device: torch.device) -> Univam:
        """The weights on a device, moved there when it is first asked for."""
        dtype = self.dtype_on(device)
        if self.placed != (device, dtype):
            self.held[0].to(device, dtype)
            self.placed = (device, dtype)
        return self.held[0]

    def dtype_on(self, device: torch.device) -> torch.dtype:
        """What it computes in on a device."""
        match self.config.precision:
            case "auto":
                return torch.bfloat16 if device.type == "cuda" else torch.float32
            case "bf16":
                return torch.bfloat16
            case "fp32":
                return torch.float32


def fingerprint(univam: Univam) -> str:
    """Tells weights apart without reading gigabytes: sha256 over names, shapes and the ends of every tensor.

    Training changes every tensor, so another checkpoint cannot look the same; a flipped byte within can.
    """
    found = hashlib.sha256()
    tensors: Mapping[str, Tensor] = dict(named_weights(univam))
    for name in sorted(tensors):
        flat = tensors[name].detach().reshape(-1)
        ends = torch.cat([flat[:SAMPLED], flat[-SAMPLED:]]).float().numpy()
        found.update(f"{name} {list(tensors[name].shape)}".encode())
        found.update(ends.tobytes())
    return found.hexdigest()


def named_weights(univam: Univam) -> Iterator[tuple[str, Tensor]]:
    """Everything that the tokens depend on, whichever code runs the VAE."""
    for name, value in univam.state_dict().items():
        yield name.replace("vae.model.", "vae."), value
    yield "latents_mean", univam.latents_mean
    yield "latents_std", univam.latents_std
