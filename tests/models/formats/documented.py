"""The tensors of openvla-7b-prismatic as its documentation lists them, written out from sizes alone.

Independent of our modules: towers by timm's names, Llama by transformers', the projector by its indices.
"""

from __future__ import annotations

Shapes = dict[str, tuple[int, ...]]


def linear(name: str, wide: int, narrow: int) -> Shapes:
    return {f"{name}.weight": (wide, narrow), f"{name}.bias": (wide,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def tower(name: str, width: int, depth: int, mlp: int, prefix: int, scales: bool, pool: bool) -> Shapes:
    shapes: Shapes = {f"{name}.pos_embed": (1, 256, width)}
    if prefix:
        shapes |= {f"{name}.cls_token": (1, 1, width), f"{name}.reg_token": (1, prefix - 1, width)}
    shapes |= {
        f"{name}.patch_embed.proj.weight": (width, 3, 14, 14),
        f"{name}.patch_embed.proj.bias": (width,),
    }
    for n in range(depth):
        block = f"{name}.blocks.{n}"
        shapes |= norm(f"{block}.norm1", width) | linear(f"{block}.attn.qkv", 3 * width, width)
        shapes |= linear(f"{block}.attn.proj", width, width) | norm(f"{block}.norm2", width)
        shapes |= linear(f"{block}.mlp.fc1", mlp, width) | linear(f"{block}.mlp.fc2", width, mlp)
        if scales:
            shapes |= {f"{block}.ls1.gamma": (width,), f"{block}.ls2.gamma": (width,)}
    shapes |= norm(f"{name}.norm", width)
    if pool:
        head = f"{name}.attn_pool"
        shapes |= {f"{head}.latent": (1, 1, width)} | linear(f"{head}.q", width, width)
        shapes |= linear(f"{head}.kv", 2 * width, width) | linear(f"{head}.proj", width, width)
        shapes |= norm(f"{head}.norm", width)
        shapes |= linear(f"{head}.mlp.fc1", mlp, width) | linear(f"{head}.mlp.fc2", width, mlp)
    return shapes


def llama() -> Shapes:
    shapes: Shapes = {"llm.model.embed_tokens.weight": (32064, 4096), "llm.lm_head.weight": (32064, 4096)}
    for n in range(32):
        layer = f"llm.model.layers.{n}"
        shapes |= {f"{layer}.self_attn.{x}_proj.weight": (4096, 4096) for x in "qkvo"}
        shapes |= {f"{layer}.mlp.{x}_proj.weight": (11008, 4096) for x in ("gate", "up")}
        shapes |= {f"{layer}.mlp.down_proj.weight": (4096, 11008)}
        shapes |= {f"{layer}.{x}_layernorm.weight": (4096,) for x in ("input", "post_attention")}
    return shapes | {"llm.model.norm.weight": (4096,)}


def openvla_7b_prismatic() -> dict[str, Shapes]:
    """Module → key → shape."""
    return {
        "vision_backbone": tower("dino_featurizer", 1024, 24, 4096, 5, scales=True, pool=False)
        | tower("siglip_featurizer", 1152, 27, 4304, 0, scales=False, pool=True),
        "projector": linear("projector.0", 8704, 2176)
        | linear("projector.2", 4096, 8704)
        | linear("projector.4", 4096, 4096),
        "llm_backbone": llama(),
    }


def cogact_head(depth: int, width: int) -> Shapes:
    """The keys that the heads of CogACT and of WoG's stage 2 have in common."""
    shapes = linear("net.x_embedder.linear", width, 7) | linear("net.t_embedder.mlp.0", width, 256)
    shapes |= linear("net.t_embedder.mlp.2", width, width) | linear("net.z_embedder.linear", width, 4096)
    shapes |= {"net.z_embedder.uncondition": (1, 4096), "net.positional_embedding": (17, width)}
    for n in range(depth):
        block = f"net.blocks.{n}"
        shapes |= linear(f"{block}.attn.qkv", 3 * width, width) | linear(f"{block}.attn.proj", width, width)
        shapes |= linear(f"{block}.mlp.fc1", 4 * width, width) | linear(f"{block}.mlp.fc2", width, 4 * width)
    return shapes | linear("net.final_layer.linear", 7, width)
