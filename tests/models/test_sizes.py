"""The full-size model has the parameters of its sources, to the unit, without being allocated."""

import pytest
import torch
from torch import nn

from stair.data.config import InputConfig
from stair.models.build import build_model
from stair.models.config import HeadConfig, ModelConfig
from stair.models.parts.dit import ActionModel


@pytest.fixture(scope="module")
def full_size() -> nn.Module:
    with torch.device("meta"):
        return build_model(ModelConfig(), InputConfig())


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("vision_backbone.dino_featurizer", 303_230_976),
        ("vision_backbone.siglip_featurizer", 427_680_704),
        ("vision_backbone", 730_911_680),
        ("projector", 71_385_600),
        ("llm_backbone", 6_738_939_904),
        ("action_model", 120_494_087 + 4096),  # DiT-B with per-token attention and its null token
    ],
)
def test_full_size_part_has_the_documented_parameters(full_size, path, parameters):
    assert count(full_size.get_submodule(path)) == parameters


def test_whole_backbone_is_openvla_7b(full_size):
    parts = full_size.parts()
    vlm = ("vision_backbone", "projector", "llm_backbone")
    assert sum(count(parts[name]) for name in vlm) == 7_541_237_184


def test_keys_are_those_of_the_released_checkpoints(full_size):
    keys = {key for part in full_size.parts().values() for key in part.state_dict()}
    for key in [
        "dino_featurizer.blocks.23.ls2.gamma",
        "dino_featurizer.reg_token",
        "siglip_featurizer.attn_pool.kv.weight",
        "projector.4.bias",
        "llm.model.layers.31.mlp.gate_proj.weight",
        "llm.lm_head.weight",
        "net.blocks.11.per_attn.in_proj_weight",
        "net.z_embedder.uncondition",
    ]:
        assert key in keys


HEADS = {"S": (6, 384, 4), "B": (12, 768, 12), "L": (24, 1024, 16)}


@pytest.fixture(params=HEADS)
def head(request) -> tuple[str, int, dict[str, int]]:
    """A head's letter, its width, and the parameters of all its tensors."""
    depth, width, heads = HEADS[request.param]
    with torch.device("meta"):
        model = ActionModel(HeadConfig(depth=depth, width=width, heads=heads), 4096, 7, 16)
    return request.param, width, {name: p.numel() for name, p in model.named_parameters()}


def without(sizes: dict[str, int], *words: str) -> int:
    return sum(size for name, size in sizes.items() if not any(word in name for word in words))


def test_heads_have_the_documented_parameters(head):
    letter, _, sizes = head
    documented = {"S": 17_599_751, "B": 120_494_087, "L": 412_762_119}
    assert without(sizes, "per_token_embedder.uncondition") == documented[letter]
    assert sum(sizes.values()) == documented[letter] + 4096


def test_heads_without_dynamic_tokens_are_those_of_wogs_second_stage(head):
    letter, _, sizes = head
    documented = {"S": 12_473_735, "B": 88_980_743, "L": 307_756_039}
    assert without(sizes, "per_attn", "norm3", "per_token_embedder") == documented[letter]


def test_and_with_the_history_embedder_those_of_cogact(head):
    letter, width, sizes = head
    documented = {"S": 12_476_807, "B": 88_986_887, "L": 307_764_231}
    embedder = 7 * width + width
    assert without(sizes, "per_attn", "norm3", "per_token_embedder") + embedder == documented[letter]


def test_and_with_tokens_of_32_channels_those_of_wogs_first_stage(head):
    letter, width, sizes = head
    documented = {"S": 16_039_175, "B": 117_372_935, "L": 408_600_583}
    embedder = 32 * width + width
    assert without(sizes, "per_token_embedder") + embedder == documented[letter]


def test_the_checkpoint_of_the_whole_backbone_has_thirty_gigabytes(full_size):
    vlm = ("vision_backbone", "projector", "llm_backbone")
    stored = [t for name in vlm for t in full_size.parts()[name].state_dict().values()]
    assert sum(t.numel() * 4 for t in stored) == 30_164_948_736
