"""One tensor, three names: ours, that of a prismatic `.pt`, and that of Hugging Face's `openvla-7b`.

Takes a key, hands on the same tensor's key elsewhere; pure. Ours is `part.name`, where the names of the VLM
and of the head are upstream's, so that a prismatic `{module: {key: tensor}}` joins to ours without a table.
Sources: OpenVLA's convert_openvla_weights_to_hf.py; the wrappers are those of torch's FSDP, checkpoint and
compile, of Fabric and of CogACT's model class.
"""

from __future__ import annotations

import re

from stair.models.formats.stored import part_of

VLM = ("vision_backbone", "projector", "llm_backbone")
"""The parts that an OpenVLA checkpoint holds."""

HF_PREFIXES = (
    ("vision_backbone.dino_featurizer.", "vision_backbone.featurizer."),
    ("vision_backbone.siglip_featurizer.", "vision_backbone.fused_featurizer."),
    ("projector.projector.0.", "projector.fc1."),
    ("projector.projector.2.", "projector.fc2."),
    ("projector.projector.4.", "projector.fc3."),
    ("llm_backbone.llm.", "language_model."),
)
"""Ours and Hugging Face's; within the towers `gamma` is called `scale_factor` there, too."""

OUTER = re.compile(r"^(?:module\.|_forward_module\.|vlm\.)+")
INNER = re.compile(r"(?<=\.)(?:_fsdp_wrapped_module|_checkpoint_wrapped_module|_orig_mod)\.")
IDLE = re.compile(r"^llm_backbone\..*rotary_emb\.inv_freq$")
BEYOND_COGACT = re.compile(
    r"^action_model\.net\.(?:per_token_embedder\.|blocks\.\d+\.(?:per_attn|norm3)\.|.*\bhistory_embedder\.)"
)
"""What a head has besides what all of CogACT's family share: the cross-attention to dynamic tokens (WoG's
stage 1 and ours, for different tokens), and CogACT's history embedder, which nothing uses."""


def bare(key: str) -> str:
    """The key without what wrappers put around it: `module.vlm.projector.projector.0.bias` and the like."""
    return INNER.sub("", OUTER.sub("", key))


def is_idle(key: str) -> bool:
    """True for buffers that old versions of transformers saved and that are computed here."""
    return IDLE.match(key) is not None


def to_prismatic(key: str) -> tuple[str, str]:
    """Our key as (module, key within it) of a prismatic `.pt`."""
    module, _, rest = key.partition(".")
    return module, rest


def from_prismatic(module: str, key: str) -> str:
    """The inverse of `to_prismatic`, wrappers removed."""
    return bare(f"{module}.{key}")


def to_hf(key: str) -> str | None:
    """Our key as `openvla-7b` has it; None for what that model does not have."""
    for ours, theirs in HF_PREFIXES:
        if key.startswith(ours):
            name = theirs + key[len(ours) :]
            return re.sub(r"\bgamma$", "scale_factor", name) if part_of(key) == VLM[0] else name
    return None


def from_hf(key: str) -> str | None:
    """The inverse of `to_hf`; None for a key that is not `openvla-7b`'s."""
    for ours, theirs in HF_PREFIXES:
        if key.startswith(theirs):
            name = ours + key[len(theirs) :]
            return re.sub(r"\bscale_factor$", "gamma", name) if part_of(name) == VLM[0] else name
    return None


def beyond_cogact(key: str) -> bool:
    """True for our keys of the head that a CogACT or WoG checkpoint cannot fill."""
    return BEYOND_COGACT.match(key) is not None
