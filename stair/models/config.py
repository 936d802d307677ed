"""The sizes and choices of a STAIR model; torch-free.

The defaults are the full-size model (openvla-7b-prismatic with a DiT-B head); a small model is the same
code with other numbers, written out in its recipe. Sources: spec of PrismaticVLM, WoG and UniVAM in the
fields below.
"""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from stair.frozen import frozen


@frozen
class TowerConfig:
    """One vision transformer, in timm's conventions."""

    width: int = 1024
    depth: int = 24
    heads: int = 16
    mlp_width: int = 4096
    patch: int = 14
    registers: int = 0
    class_token: bool = False
    layer_scale: bool = False
    """DINOv2 scales every residual branch by a learned vector."""
    attention_pool: bool = False
    """SigLIP checkpoints carry a pooling head that the features do not use."""
    stem: Literal["patch", "convolution"] = "patch"
    """patch: one strided convolution, as released. convolution: two of them, for models trained from
    nothing."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    epsilon: float = 1e-6


def dino_large() -> TowerConfig:
    """timm vit_large_patch14_reg4_dinov2.lvd142m."""
    return TowerConfig(registers=4, class_token=True, layer_scale=True)


def siglip_so400m() -> TowerConfig:
    """timm vit_so400m_patch14_siglip_224."""
    half = (0.5, 0.5, 0.5)
    return TowerConfig(width=1152, depth=27, mlp_width=4304, attention_pool=True, mean=half, std=half)


@frozen
class VisionConfig:
    """Two towers over the same image, second-last features side by side."""

    dino: TowerConfig = field(default_factory=dino_large)
    siglip: TowerConfig = field(default_factory=siglip_so400m)


@frozen
class LlamaConfig:
    """The language model; defaults are Llama-2-7B with the pad row OpenVLA added."""

    vocabulary: int = 32064
    width: int = 4096
    depth: int = 32
    heads: int = 32
    mlp_width: int = 11008
    rope_theta: float = 10000.0
    epsilon: float = 1e-5


@frozen
class DynamicConfig:
    """The frozen encoder that turns a clip into `tokens` vectors of `width`."""

    kind: Literal["mock", "univam"] = "mock"
    tokens: int = 2
    width: int = 4096
    grid: int = 8
    """mock: frames are pooled to grid x grid before the fixed projection."""
    seed: int = 2026
    """mock: seed of the fixed projection. univam: seed of the draws, where the posterior is sampled."""
    checkpoint: str = ""
    """univam: folder with Wan22VM.pth, Projector.pth and config.yaml."""
    wan_vae: str = ""
    """univam: folder of Wan2.2-TI2V-5B-Diffusers, or its vae folder; empty: where config.yaml says."""
    vae: Literal["own", "diffusers"] = "own"
    """univam: which code runs the VAE; they agree to rounding (make parity)."""
    posterior: Literal["mode", "sample"] = "mode"
    """univam: the VAE's mean, or a draw. Upstream draws anew each time; ours belongs to the clip."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """univam: auto computes in bf16 on a GPU, as upstream does, and in fp32 on a CPU."""


@frozen
class OformerConfig:
    """The query transformer that replaces the dynamic encoder at deployment."""

    width: int = 4096
    depth: int = 4
    heads: int = 8
    mlp_width: int = 2048


DIT_SIZES = {"S": (6, 384, 4), "B": (12, 768, 12), "L": (24, 1024, 16)}
"""Depth, width and heads of CogACT's DiT-S, DiT-B and DiT-L."""


@frozen
class HeadConfig:
    """The DiT action head; defaults are DiT-B."""

    size: Literal["", "S", "B", "L"] = ""
    """A DiT by its name, which then wins over depth, width and heads. Empty: those three."""
    depth: int = 12
    width: int = 768
    heads: int = 12
    drop_cognition: float = 0.1
    """Share of training samples whose cognition token is replaced by a learned null token."""
    drop_dynamic: float = 0.1
    """The same for the dynamic tokens; makes running without them possible."""
    time_scale: float = 1.0
    """Factor on t in [0, 1] before the sinusoid; released checkpoints use 1."""
    repeats: int = 4
    """Noise draws per sample and step ('repeated diffusion steps')."""

    def __post_init__(self) -> None:
        if self.size:
            for name, value in zip(("depth", "width", "heads"), DIT_SIZES[self.size], strict=True):
                object.__setattr__(self, name, value)


@frozen
class FlowConfig:
    """Flow matching from noise (t = 0) to action (t = 1)."""

    alpha: float = 1.5
    """Training times follow Beta(alpha, 1); 1 is uniform."""
    bias: Literal["data", "noise"] = "data"
    """data: t ~ Beta(alpha, 1), as WoG. noise: t = 1 - Beta(alpha, 1), as pi0."""
    margin: float = 1e-3
    """t is squeezed into [margin, 1 - margin]."""
    steps: int = 10
    """Euler intervals at inference."""
    euler: Literal["intervals", "wog"] = "intervals"
    """intervals: n steps at t = 0, 1/n … (n-1)/n. wog: n points from 0 to 1 and so n - 1 steps, as WoG's
    checkpoints were evaluated."""


@frozen
class AuxiliaryConfig:
    """Optional small losses on the cognition token; all off in the published recipe.

    They need nothing that real robot data does not have. On small models trained from nothing they
    decide whether the cognition token learns to look at the scene within minutes.
    """

    chunk: float = 0.0
    """Weight of a linear regression of the action chunk."""
    waypoints: float = 0.0
    """Weight of a linear regression of the gripper's state and of where it will next open or close."""
    words: float = 0.0
    """Weight of the same question put to the mean of the text's states: the word that names a thing then
    learns to look at it, long before the last token has learned to ask that word."""


@frozen
class ModelConfig:
    """A whole STAIR model."""

    kind: Literal["stair"] = "stair"
    vision: VisionConfig = field(default_factory=VisionConfig)
    llm: LlamaConfig = field(default_factory=LlamaConfig)
    dynamic: DynamicConfig = field(default_factory=DynamicConfig)
    oformer: OformerConfig = field(default_factory=OformerConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    auxiliary: AuxiliaryConfig = field(default_factory=AuxiliaryConfig)
    align_weight: float = 0.3
    """Weight of the stage-2 loss mean(1 - cos(oformer, stopgrad(target)))."""
