"""A UniVAM checkpoint and a VAE folder in the published form, some hundred thousand parameters in all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from stair.data.config import ClipConfig
from stair.models.config import DynamicConfig
from stair.models.parts.univam import ProjectorShape, QformerProjector
from stair.models.parts.wan_vae import WanVaeConfig, WanVaeEncoder
from tools.parity_weights import noise, stirred

SIZE, WIDTH = 32, 24
CLIP = ClipConfig(image_size=SIZE)
VAE: dict[str, Any] = {
    "_class_name": "AutoencoderKLWan",
    "base_dim": 8,
    "z_dim": 4,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "temperal_downsample": [False, True, True],
    "in_channels": 12,
    "patch_size": 2,
    "is_residual": True,
    "latents_mean": [0.1, -0.3, 0.2, 0.0],
    "latents_std": [0.5, 1.1, 0.8, 2.0],
}
SHAPE = ProjectorShape(tokens=2, width=WIDTH, memory=16, inner=48, layers=2, output=WIDTH, heads=4)


def vae_proj_weights(seed: int = 0) -> dict[str, Tensor]:
    """What a Wan22VM.pth holds: vae_proj, and pieces of the decoder that encoding does not need."""
    conv = stirred(nn.Conv3d(VAE["z_dim"], SHAPE.memory, (1, 2, 2), stride=(1, 2, 2)), seed)
    weights = {f"vae_proj.{name}": value for name, value in conv.state_dict().items()}
    return weights | {"transformer3d.patch_embedding.weight": torch.zeros(6, 4, 1, 2, 2)}


def write_univam(folder: Path, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> DynamicConfig:
    """Writes FOLDER/univam and FOLDER/wan; returns the configuration that finds them."""
    checkpoint, vae = folder / "univam", folder / "wan" / "vae"
    checkpoint.mkdir(parents=True)
    vae.mkdir(parents=True)
    torch.save({"model": vae_proj_weights(seed), "global_step": 7}, checkpoint / "Wan22VM.pth")
    projector = stirred(QformerProjector(SHAPE), seed).to(dtype).state_dict()
    torch.save(projector, checkpoint / "Projector.pth")
    (checkpoint / "config.yaml").write_text(
        "projector: {type: qformer, num_token: 2, num_attention_heads: 4}\n"
        "wanva: {model_path: '${oc.env:PRETRAINED_MODEL_PATH}/wan/'}\n"
        f"data: {{frames: 5, image_size: [{SIZE}, {SIZE}]}}\n"
    )
    (vae / "config.json").write_text(json.dumps(VAE))
    encoder = stirred(WanVaeEncoder(WanVaeConfig.read(VAE, "test")), seed).state_dict()
    decoder = {"decoder.conv_in.weight": torch.zeros(3), "post_quant_conv.bias": torch.zeros(3)}
    save_file(encoder | decoder, vae / "diffusion_pytorch_model.safetensors")
    return DynamicConfig(
        "univam", tokens=2, width=WIDTH, checkpoint=str(checkpoint), wan_vae=str(folder / "wan")
    )


def clips(count: int = 2, frames: int = 5, seed: int = 0) -> Tensor:
    """uint8 [count, frames, 3, SIZE, SIZE]"""
    pixels = noise("clips", seed, (count, frames, 3, SIZE, SIZE))
    return (pixels * 60 + 128).clamp(0, 255).to(torch.uint8)
