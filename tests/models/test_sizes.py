"""The full-size model has the parameters of its sources, to the unit, without being allocated."""

import pytest
import torch
from torch import nn

from stair.data.config import InputConfig
from stair.models.build import build_model
from stair.models.config import ModelConfig


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
