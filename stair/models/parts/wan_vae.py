"""The encoder half of the Wan2.2 video VAE: a clip becomes a grid of latents.

Takes pixels [B, 3, 1 + 4k, H, W] in [-1, 1], hands on mean and log-variance of the latents, [B, z, 1 + k,
H/16, W/16] each. Names of weights are those of diffusers' AutoencoderKLWan (config.json of
Wan2.2-TI2V-5B-Diffusers/vae), whose code feeds it 1 + 4 + 4 ... frames with caches. The surprise: no cache is
needed. Everything is causal in time, so the whole clip at once gives the same numbers; only the first frame
needs care, which passes the temporal strides unconvolved and is averaged with a frame of zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stair.errors import StairError


@dataclass(frozen=True)
class WanVaeConfig:
    """What config.json says of the encoder; the defaults are Wan2.2-TI2V-5B's."""

    base_dim: int = 160
    z_dim: int = 48
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    temperal_downsample: tuple[bool, ...] = (False, True, True)
    in_channels: int = 12
    patch_size: int = 2
    latents_mean: tuple[float, ...] = ()
    """[z_dim]: what is subtracted from the latents before they are used. Only the user's file knows it."""
    latents_std: tuple[float, ...] = ()

    @property
    def spatial(self) -> int:
        """Pixels per latent along a side."""
        return self.patch_size * 2 ** (len(self.dim_mult) - 1)

    @property
    def temporal(self) -> int:
        """Frames per latent, after the first."""
        return 2 ** sum(self.temperal_downsample)

    @staticmethod
    def read(values: Mapping[str, Any], where: str) -> WanVaeConfig:
        """From the values of a config.json. Raises StairError for other autoencoders and missing values."""
        kind = values.get("_class_name", "AutoencoderKLWan")
        if kind != "AutoencoderKLWan" or not values.get("is_residual"):
            found = f"{kind} without residual blocks" if kind == "AutoencoderKLWan" else str(kind)
            raise StairError(
                f"{where} describes {found}; expected the AutoencoderKLWan of Wan2.2 (is_residual true)",
                hint="the vae folder of Wan-AI/Wan2.2-TI2V-5B-Diffusers; that of Wan2.1 will not do",
            )
        names = WanVaeConfig.__dataclass_fields__
        if missing := [name for name in names if name not in values]:
            raise StairError(
                f"{where} does not say {', '.join(missing)}",
                hint="take config.json from the weights' own folder",
            )
        config = WanVaeConfig(**{name: _frozen(values[name]) for name in names})
        for name in ("latents_mean", "latents_std"):
            if len(getattr(config, name)) != config.z_dim:
                raise StairError(
                    f"{where}: {name} has {len(getattr(config, name))} values for {config.z_dim} channels",
                    hint="take config.json from the weights' own folder",
                )
        return config


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class CausalConv3d(nn.Conv3d):
    """A convolution padded with zeros around every frame and, in time, only before the first."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__(inputs, outputs, kernel)
        side = kernel // 2
        self.edges = (side, side, side, side, kernel - 1, 0)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.edges))


class ChannelNorm(nn.Module):
    """Scales each place's channels to unit root-mean-square, then by a learned weight."""

    def __init__(self, width: int, axes: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width, *(1,) * axes))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=1) * len(self.gamma) ** 0.5 * self.gamma


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(inputs, 3)
        self.conv1 = CausalConv3d(inputs, outputs, 3)
        self.norm2 = ChannelNorm(outputs, 3)
        self.conv2 = CausalConv3d(outputs, outputs, 3)
        self.conv_shortcut = CausalConv3d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(F.silu(self.norm1(x)))
        return self.conv_shortcut(x) + self.conv2(F.silu(self.norm2(inner)))


class FrameAttention(nn.Module):
    """One head of attention among the places of each frame."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width, 2)
        self.to_qkv = nn.Conv2d(width, 3 * width, 1)
        self.proj = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, width, frames, height, side = x.shape
        each = x.transpose(1, 2).flatten(0, 1)
        qkv = self.to_qkv(self.norm(each)).flatten(2).transpose(1, 2)
        q, k, v = (part[:, None] for part in qkv.chunk(3, dim=-1))
        mixed = F.scaled_dot_product_attention(q, k, v)[:, 0]
        mixed = self.proj(mixed.transpose(1, 2).reshape(each.shape))
        return x + mixed.view(batch, frames, width, height, side).transpose(1, 2)


class Downsampler(nn.Module):
    """Halves the sides, and where `in_time` the frames after the first, by strided convolutions."""

    def __init__(self, width: int, in_time: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(width, width, 3, stride=2))
        if in_time:
            self.time_conv = nn.Conv3d(width, width, (3, 1, 1), stride=(2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, _, frames = x.shape[:3]
        each = self.resample(x.transpose(1, 2).flatten(0, 1))
        x = each.unflatten(0, (batch, frames)).transpose(1, 2)
        if not hasattr(self, "time_conv") or frames == 1:
            return x
        return torch.cat([x[:, :, :1], self.time_conv(x)], dim=2)


def averaged(x: Tensor, outputs: int, time: int, space: int) -> Tensor:
    """A downsampling shortcut without weights: [B, C, T, H, W] → [B, outputs, ceil(T / time), H / space, …].

    Blocks of time x space x space become channels, averaged in runs. Frames that miss before the first are
    zeros, so that with time 2 the first frame comes out at half its strength; the weights expect it.
    """
    x = F.pad(x, (0, 0, 0, 0, -x.shape[2] % time, 0))
    batch, _, frames, height, width = x.shape
    cut = x.reshape(batch, -1, frames // time, time, height // space, space, width // space, space)
    runs = cut.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(batch, outputs, -1, *cut.shape[2::2])
    return runs.mean(2)


class DownBlock(nn.Module):
    """Residual blocks and a downsampler, beside the averaged shortcut."""

    def __init__(self, inputs: int, outputs: int, depth: int, in_time: bool, last: bool) -> None:
        super().__init__()
        self.outputs, self.factors = outputs, (2 if in_time else 1, 1 if last else 2)
        widths = [inputs, *[outputs] * (depth - 1)]
        self.resnets = nn.ModuleList(ResidualBlock(width, outputs) for width in widths)
        self.downsampler = nn.Identity() if last else Downsampler(outputs, in_time)

    def forward(self, x: Tensor) -> Tensor:
        inner = x
        for block in self.resnets:
            inner = block(inner)
        return self.downsampler(inner) + averaged(x, self.outputs, *self.factors)


class MidBlock(nn.Module):
    """Attention between two residual blocks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([FrameAttention(width)])
        self.resnets = nn.ModuleList(ResidualBlock(width, width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Encoder(nn.Module):
    """Patches of pixels become latent moments."""

    def __init__(self, config: WanVaeConfig) -> None:
        super().__init__()
        widths = [config.base_dim * factor for factor in (1, *config.dim_mult)]
        in_time = (*config.temperal_downsample, False)
        self.conv_in = CausalConv3d(config.in_channels, widths[0], 3)
        self.down_blocks = nn.ModuleList(
            DownBlock(before, after, config.num_res_blocks, in_time[nth], nth == len(config.dim_mult) - 1)
            for nth, (before, after) in enumerate(pairwise(widths))
        )
        self.mid_block = MidBlock(widths[-1])
        self.norm_out = ChannelNorm(widths[-1], 3)
        self.conv_out = CausalConv3d(widths[-1], 2 * config.z_dim, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.norm_out(self.mid_block(x))))


class WanVaeEncoder(nn.Module):
    """The encoder with its last projection."""

    def __init__(self, config: WanVaeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quant_conv = CausalConv3d(2 * config.z_dim, 2 * config.z_dim, 1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latents, the latter clipped to [-30, 20] as diffusers does."""
        patches = fold_patches(pixels, self.config.patch_size)
        mean, log_variance = self.quant_conv(self.encoder(patches)).chunk(2, dim=1)
        return mean, log_variance.clamp(-30.0, 20.0)


def fold_patches(pixels: Tensor, size: int) -> Tensor:
    """[B, C, T, H, W] → [B, C * size * size, T, H / size, W / size]: a patch's columns before its rows."""
    batch, channels, frames, height, width = pixels.shape
    cut = pixels.reshape(batch, channels, frames, height // size, size, width // size, size)
    return cut.permute(0, 1, 6, 4, 2, 3, 5).reshape(
        batch, channels * size * size, frames, height // size, width // size
    )
