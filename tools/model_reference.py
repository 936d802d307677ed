"""What timm, transformers, diffusers and torch themselves compute; runs in their environment.

    python tools/model_reference.py FOLDER

Writes FOLDER/CASE.pt for every case: seeded weights under the library's names, inputs, outputs, and names
and shapes of the full-size module. FOLDER/univam is a whole UniVAM checkpoint with a VAE folder, written by
the libraries' own savers; its case holds the tokens that the published steps make with it. Who reads all this
is tools/model_parity.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from parity_weights import noise, stirred
from torch import Tensor, nn

Case = dict[str, Any]
LLM = {"vocab_size": 96, "hidden_size": 64, "num_hidden_layers": 3, "intermediate_size": 112}
WAN = {
    "base_dim": 160,
    "decoder_base_dim": 256,
    "z_dim": 48,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "temperal_downsample": [False, True, True],
    "is_residual": True,
    "patch_size": 2,
    "in_channels": 12,
    "out_channels": 12,
    "scale_factor_temporal": 4,
    "scale_factor_spatial": 16,
}
SMALL_WAN = WAN | {
    "base_dim": 16,
    "decoder_base_dim": 16,
    "z_dim": 4,
    "latents_mean": [0.1, -0.3, 0.2, 0.0],
    "latents_std": [0.5, 1.1, 0.8, 2.0],
}
QUERIES = {"tokens": 2, "width": 64, "memory": 64, "layers": 3, "heads": 8}


def declare_torchvision_operators() -> None:
    """timm imports torchvision, whose compiled part the CPU build of torch may not fit; only two names of it
    are asked for at import, and never called here."""
    library = torch.library.Library("torchvision", "DEF")
    for schema in (
        "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    ):
        try:
            library.define(schema)
        except RuntimeError:  # it fits after all
            return
    globals()["_kept"] = library


def shapes(module: nn.Module) -> dict[str, list[int]]:
    """Names and shapes of everything a module saves."""
    return {name: list(value.shape) for name, value in module.state_dict().items()}


def pictures(name: str, *shape: int) -> Tensor:
    """uint8 noise."""
    return (noise(name, 0, shape) * 60 + 128).clamp(0, 255).to(torch.uint8)


def tower(name: str, **more: Any) -> Case:
    """A vision tower of timm by its name, at small width and depth: the second-last block's patches."""
    import timm  # type: ignore[import-not-found]

    sizes = {"embed_dim": 48, "depth": 4, "num_heads": 4, "img_size": 56, "num_classes": 0} | more
    model: Any = stirred(timm.create_model(name, **sizes))
    images = pictures("images", 2, 3, 56, 56)
    mean, std = (torch.tensor(model.pretrained_cfg[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    features = model.get_intermediate_layers((images.float() / 255 - mean) / std, n=[sizes["depth"] - 2])[0]
    linspace = partial(torch.linspace, device="cpu")  # timm reads its values while it builds
    with torch.device("meta"), patch.object(torch, "linspace", linspace):
        full = timm.create_model(name, num_classes=0, img_size=224)
    return {
        "source": f"timm {timm.__version__} {name}",
        "weights": model.state_dict(),
        "inputs": {"images": images},
        "outputs": {"features": features},
        "mlp_width": model.blocks[0].mlp.fc1.out_features,
        "full": shapes(full),
    }


def dino() -> Case:
    return tower("vit_large_patch14_reg4_dinov2")


def siglip() -> Case:
    return tower("vit_so400m_patch14_siglip_224")


def llama() -> Case:
    """A right-padded prompt with image patches after BOS, through LlamaForCausalLM's decoder."""
    import transformers  # type: ignore[import-not-found]

    config = transformers.LlamaConfig(**LLM, num_attention_heads=4, num_key_value_heads=4, rms_norm_eps=1e-5)
    model: Any = stirred(transformers.LlamaForCausalLM(config))
    lengths = torch.tensor([7, 4])
    mask = torch.arange(7) < lengths[:, None]
    ids = pictures("ids", 2, 7).long() % LLM["vocab_size"] * mask
    patches = noise("patches", 0, (2, 5, LLM["hidden_size"]))
    words = model.model.embed_tokens(ids)
    x = torch.cat([words[:, :1], patches, words[:, 1:]], dim=1)
    seen = torch.cat([mask[:, :1], torch.ones(2, 5, dtype=torch.bool), mask[:, 1:]], dim=1)
    states = model.model(inputs_embeds=x, attention_mask=seen.long()).last_hidden_state
    states = torch.cat([states[:, :1], states[:, 6:]], dim=1)
    with torch.device("meta"):
        full = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=32064))
    return {
        "source": f"transformers {transformers.__version__} LlamaForCausalLM",
        "weights": model.state_dict(),
        "inputs": {"ids": ids, "mask": mask, "patches": patches},
        "outputs": {"states": states * mask[..., None], "cognition": states[torch.arange(2), lengths - 1]},
        "full": shapes(full),
    }


def oformer() -> Case:
    """A pre-norm decoder layer of torch over memory with padding."""
    layer = stirred(
        nn.TransformerDecoderLayer(32, 4, 56, 0.0, nn.functional.gelu, batch_first=True, norm_first=True)
    )
    x, memory = noise("x", 0, (2, 3, 32)), noise("memory", 0, (2, 9, 32))
    mask = torch.arange(9) < torch.tensor([9, 5])[:, None]
    answer = layer(x, memory, memory_key_padding_mask=~mask)
    return {
        "source": f"torch {torch.__version__} TransformerDecoderLayer(norm_first)",
        "weights": layer.state_dict(),
        "inputs": {"x": x, "memory": memory, "mask": mask},
        "outputs": {"queries": answer},
    }


class Projector(nn.Module):
    """UniVAM's projector made of diffusers' blocks, as its description says."""

    def __init__(self, tokens: int, width: int, memory: int, layers: int, heads: int) -> None:
        super().__init__()
        from diffusers.models.attention import BasicTransformerBlock  # type: ignore[import-not-found]

        self.query_tokens = nn.Parameter(torch.zeros(1, tokens, width))
        self.qformer_layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "cross_attn": BasicTransformerBlock(
                        width,
                        heads,
                        width // heads,
                        dropout=0.1,
                        cross_attention_dim=memory,
                        activation_fn="geglu",
                        norm_elementwise_affine=False,
                        norm_eps=1e-7,
                    )
                }
            )
            for _ in range(layers)
        )
        self.output_align_mlp = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)

    def forward(self, memory: Tensor) -> Tensor:
        x = self.query_tokens.expand(len(memory), -1, -1)
        for layer in self.qformer_layers:
            x = layer["cross_attn"](x, encoder_hidden_states=memory)  # type: ignore[index]
        return self.norm(self.output_align_mlp(x))


def projector() -> Case:
    import diffusers  # type: ignore[import-not-found]

    model = stirred(Projector(**QUERIES))
    memory = noise("memory", 0, (2, 12, QUERIES["memory"]))
    with torch.device("meta"):
        full = Projector(tokens=2, width=4096, memory=4096, layers=6, heads=8)
    return {
        "source": f"diffusers {diffusers.__version__} BasicTransformerBlock",
        "sizes": QUERIES,
        "weights": model.state_dict(),
        "inputs": {"memory": memory},
        "outputs": {"tokens": model(memory)},
        "full": shapes(full),
    }


def encoder_half(tensors: dict[str, Any]) -> dict[str, Any]:
    """What of a VAE encoding needs."""
    return {name: value for name, value in tensors.items() if name.startswith(("encoder.", "quant_conv."))}


def vae() -> Case:
    """Moments and a draw of 5 and of 9 frames; diffusers feeds them in chunks of 1 + 4 + 4."""
    import diffusers  # type: ignore[import-not-found]

    model: Any = stirred(diffusers.AutoencoderKLWan(**SMALL_WAN))
    outputs = {}
    clips = {count: noise(f"clip{count}", 0, (2, 3, count, 48, 32)).clamp(-1, 1) for count in (5, 9)}
    for count, clip in clips.items():
        found = model.encode(clip).latent_dist
        outputs |= {f"mean{count}": found.mean, f"log_variance{count}": found.logvar}
        outputs[f"mode{count}"] = found.mode()
    found = model.encode(clips[5]).latent_dist
    outputs["sample5"] = found.sample(torch.Generator().manual_seed(3))
    drawn = torch.randn(found.mean.shape, generator=torch.Generator().manual_seed(3))
    with torch.device("meta"):
        full = diffusers.AutoencoderKLWan(**WAN)
    return {
        "source": f"diffusers {diffusers.__version__} AutoencoderKLWan.encode",
        "config": dict(SMALL_WAN),
        "weights": encoder_half(model.state_dict()),
        "inputs": {"clip5": clips[5], "clip9": clips[9], "noise5": drawn},
        "outputs": outputs,
        "full": encoder_half(shapes(full)),
    }


def univam(folder: Path) -> Case:
    """A checkpoint folder and a VAE folder in the published form, and the tokens of some clips."""
    import diffusers  # type: ignore[import-not-found]

    encoder: Any = stirred(diffusers.AutoencoderKLWan(**SMALL_WAN), seed=1)
    visual = stirred(nn.Conv3d(SMALL_WAN["z_dim"], QUERIES["memory"], (1, 2, 2), stride=(1, 2, 2)), seed=1)
    queries = stirred(Projector(**QUERIES), seed=1)
    encoder.save_pretrained(folder / "wan" / "vae")
    weights = {f"vae_proj.{name}": value for name, value in visual.state_dict().items()}
    weights["transformer3d.patch_embedding.weight"] = noise("decoder", 1, (8, 4, 1, 2, 2))
    torch.save({"model": weights, "global_step": 7}, folder / "Wan22VM.pth")
    torch.save(queries.state_dict(), folder / "Projector.pth")
    clips = pictures("clips", 3, 5, 3, 64, 64)
    video = ((clips.float() - 127.5) / 127.5).permute(0, 2, 1, 3, 4)
    mean, std = (torch.tensor(SMALL_WAN[k]).view(1, -1, 1, 1, 1) for k in ("latents_mean", "latents_std"))
    latents = (encoder.encode(video).latent_dist.mode() - mean) / std
    return {
        "source": f"diffusers {diffusers.__version__}, saved and loaded",
        "sizes": QUERIES,
        "inputs": {"clips": clips},
        "outputs": {"tokens": queries(visual(latents).flatten(2).transpose(1, 2))},
    }


CASES: dict[str, Callable[[], Case]] = {
    "dino": dino,
    "siglip": siglip,
    "llama": llama,
    "oformer": oformer,
    "projector": projector,
    "vae": vae,
}


@torch.no_grad()
def main(folder: Path) -> None:
    declare_torchvision_operators()
    (folder / "univam").mkdir(parents=True, exist_ok=True)
    for name, make in CASES.items():
        print(f"reference: {name}", file=sys.stderr, flush=True)
        torch.save(make(), folder / f"{name}.pt")
    print("reference: univam", file=sys.stderr, flush=True)
    torch.save(univam(folder / "univam"), folder / "univam.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
