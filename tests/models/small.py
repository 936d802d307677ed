"""A STAIR model of a few ten thousand parameters, and batches for it."""

from __future__ import annotations

import torch

from stair.data.config import ActionConfig, ClipConfig, ImageConfig, InputConfig, LanguageConfig
from stair.data.sample import Batch
from stair.models.config import (
    AuxiliaryConfig,
    DynamicConfig,
    HeadConfig,
    LlamaConfig,
    ModelConfig,
    OformerConfig,
    TowerConfig,
    VisionConfig,
)

TOWER = TowerConfig(width=16, depth=2, heads=2, mlp_width=32, patch=8)
CONFIG = ModelConfig(
    vision=VisionConfig(dino=TOWER, siglip=TOWER),
    llm=LlamaConfig(vocabulary=64, width=32, depth=2, heads=2, mlp_width=48),
    dynamic=DynamicConfig(width=24, grid=4),
    oformer=OformerConfig(width=32, depth=1, heads=2, mlp_width=48),
    head=HeadConfig(depth=2, width=32, heads=2, repeats=2),
    auxiliary=AuxiliaryConfig(chunk=1.0, waypoints=1.0, words=1.0),
)
INPUTS = InputConfig(
    image=ImageConfig(size=32),
    clip=ClipConfig(image_size=32),
    language=LanguageConfig(vocabulary=64),
    action=ActionConfig(),
)


def make_batch(size: int = 4, length: int = 6, seed: int = 0) -> Batch:
    """Random samples; sample 0 has the longest prompt, the others end earlier."""
    generator = torch.Generator().manual_seed(seed)
    clips = torch.randint(0, 256, (size, 5, 3, 32, 32), generator=generator, dtype=torch.uint8)
    lengths = torch.tensor([length - (row % 3) for row in range(size)])
    mask = torch.arange(length) < lengths[:, None]
    ids = torch.randint(4, 64, (size, length), generator=generator) * mask
    return Batch(
        images=clips[:, 2].contiguous(),
        clips=clips,
        token_ids=ids,
        token_mask=mask,
        actions=torch.rand(size, 16, 7, generator=generator) * 2 - 1,
        action_mask=torch.arange(16) < torch.tensor([16 - 3 * row for row in range(size)])[:, None],
        proprio=torch.rand(size, 7, generator=generator),
        waypoints=torch.rand(size, 2, 3, generator=generator),
        positions=torch.arange(size),
    )
