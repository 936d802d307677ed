"""One image, two vision towers: DINOv2 and SigLIP features side by side.

Takes uint8 images [B, 3, S, S], hands on [B, (S/patch)^2, dino.width + siglip.width]. The features are the
second-last block's, without the final norm, prefix tokens stripped (OpenVLA's fused backbone); parameter
names are timm's, so the released weights fit. Each tower normalises the pixels itself.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stair.models.config import TowerConfig, VisionConfig
from stair.models.parts.attention import Mlp, SelfAttention


class LayerScale(nn.Module):
    """A learned scale per channel on a residual branch (DINOv2 starts it at 1e-5)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class TowerBlock(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        width = config.width
        self.norm1 = nn.LayerNorm(width, eps=config.epsilon)
        self.attn = SelfAttention(width, config.heads)
        self.ls1 = LayerScale(width) if config.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=config.epsilon)
        self.mlp = Mlp(width, config.mlp_width)
        self.ls2 = LayerScale(width) if config.layer_scale else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """Pixels to patch tokens by one strided convolution."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.width, config.patch, stride=config.patch)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.proj(pixels).flatten(2).transpose(1, 2)


class ConvolutionStem(nn.Module):
    """Pixels to patch tokens by two convolutions: small models see edges of objects much sooner."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        half = config.patch // 2
        self.inner = nn.Conv2d(3, config.width // 2, half, stride=half)
        self.proj = nn.Conv2d(config.width // 2, config.width, 3, stride=2, padding=1)
        for layer in (self.inner, self.proj):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, pixels: Tensor) -> Tensor:
        return self.proj(F.gelu(self.inner(pixels))).flatten(2).transpose(1, 2)


class AttentionPool(nn.Module):
    """SigLIP's pooling head: present in its checkpoints, not part of the features."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        width = config.width
        self.latent = nn.Parameter(torch.zeros(1, 1, width))
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=config.epsilon)
        self.mlp = Mlp(width, config.mlp_width)


def position_grid(side: int, width: int) -> Tensor:
    """Where training from nothing starts the position embedding: waves over rows and columns,
    [side * side, width], from half a period over the image up to one over two patches.

    As strong as the content, so that a fresh tower knows where things are from its first step.
    """
    place = (torch.arange(side) + 0.5) / side * math.pi
    waves = torch.logspace(0, math.log2(max(2, side)), width // 4, base=2)[None] * place[:, None]
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    waves = torch.cat([waves.sin(), waves.cos()], dim=1)
    grid = torch.cat([waves[row.flatten()], waves[column.flatten()]], dim=1)
    return nn.functional.pad(grid, (0, width - grid.shape[1]))


class Tower(nn.Module):
    """One vision transformer up to its second-last block."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: TowerConfig, image_size: int) -> None:
        super().__init__()
        self.prefix = int(config.class_token) + config.registers
        self.patch_embed = PatchEmbed(config) if config.stem == "patch" else ConvolutionStem(config)
        if config.class_token:
            self.cls_token = nn.Parameter(torch.randn(1, 1, config.width) * 1e-6)
        if config.registers:
            self.reg_token = nn.Parameter(torch.randn(1, config.registers, config.width) * 1e-6)
        self.pos_embed = nn.Parameter(position_grid(image_size // config.patch, config.width)[None])
        self.blocks = nn.ModuleList(TowerBlock(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=config.epsilon)
        if config.attention_pool:
            self.attn_pool = AttentionPool(config)
        mean, std = torch.tensor(config.mean), torch.tensor(config.std)
        self.register_buffer("mean", mean.view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", std.view(1, 3, 1, 1) * 255, persistent=False)
        for unused in [self.blocks[-1], self.norm, getattr(self, "attn_pool", None)]:
            if unused is not None:  # beyond the features: loaded and saved, never trained
                unused.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [B, 3, S, S] → [B, patches, width]."""
        dtype = self.pos_embed.dtype
        pixels = ((images.to(torch.float32) - self.mean) / self.std).to(dtype)
        x = self.patch_embed(pixels) + self.pos_embed
        prefix = [getattr(self, name) for name in ("cls_token", "reg_token") if hasattr(self, name)]
        if prefix:  # timm's reg4 models give no position to the prefix
            x = torch.cat([*(token.expand(len(x), -1, -1) for token in prefix), x], dim=1)
        for block in self.blocks[:-1]:
            x = block(x)
        return x[:, self.prefix :]


class VisionBackbone(nn.Module):
    """Both towers over the same image, channels side by side, DINO first."""

    def __init__(self, config: VisionConfig, image_size: int) -> None:
        super().__init__()
        self.dino_featurizer = Tower(config.dino, image_size)
        self.siglip_featurizer = Tower(config.siglip, image_size)
        self.width = config.dino.width + config.siglip.width

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([self.dino_featurizer(images), self.siglip_featurizer(images)], dim=-1)
