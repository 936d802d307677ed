"""Full-size key lists equal the documented ones, and the maps between names are one to one."""

import pytest
import torch
from torch import nn

from stair.data.config import InputConfig
from stair.models.config import ModelConfig
from stair.models.formats.fit import expected_shapes
from stair.models.formats.keys import (
    VLM,
    bare,
    beyond_cogact,
    from_hf,
    from_prismatic,
    is_idle,
    to_hf,
    to_prismatic,
)
from stair.models.formats.stored import part_of
from stair.models.parts.dit import ActionModel
from tests.models.formats.documented import cogact_head, openvla_7b_prismatic


@pytest.fixture(scope="module")
def full_size() -> dict[str, tuple[int, ...]]:
    return expected_shapes(ModelConfig(), InputConfig())


@pytest.mark.parametrize("module", VLM)
def test_full_size_keys_and_shapes_are_the_documented_ones(full_size, module):
    ours = {to_prismatic(key)[1]: shape for key, shape in full_size.items() if part_of(key) == module}
    assert ours == openvla_7b_prismatic()[module]


def test_the_head_is_cogacts_and_what_reads_the_dynamic_tokens(full_size):
    head = {key: shape for key, shape in full_size.items() if part_of(key) == "action_model"}
    common = {to_prismatic(key)[1]: shape for key, shape in head.items() if not beyond_cogact(key)}
    assert common == cogact_head(12, 768)
    own = {
        key.rsplit("blocks.", 1)[-1].split(".", 1)[-1]
        for key in head
        if beyond_cogact(key) and "blocks" in key
    }
    assert own == {
        "per_attn.in_proj_weight",
        "per_attn.in_proj_bias",
        "per_attn.out_proj.weight",
        "per_attn.out_proj.bias",
        "norm3.weight",
        "norm3.bias",
    }
    assert beyond_cogact("action_model.net.history_embedder.linear.weight")


def test_hugging_faces_names_map_one_to_one_and_back(full_size):
    vlm = [key for key in full_size if part_of(key) in VLM]
    theirs = {to_hf(key) for key in vlm}
    assert None not in theirs
    assert len(theirs) == len(vlm)
    assert [from_hf(to_hf(key) or "") for key in vlm] == vlm
    assert {"projector.fc2.bias", "language_model.lm_head.weight"} <= theirs
    assert "vision_backbone.featurizer.blocks.23.ls2.scale_factor" in theirs
    assert "vision_backbone.fused_featurizer.attn_pool.kv.weight" in theirs


def test_only_the_vlm_has_a_place_in_hugging_faces_model(full_size):
    assert {part_of(key) for key in full_size if to_hf(key) is None} == {
        "action_model",
        "projection",
        "oformer",
        "auxiliary",
    }
    assert from_hf("multi_modal_projector.linear.weight") is None


def test_prismatic_names_map_one_to_one_and_back(full_size):
    pairs = [to_prismatic(key) for key in full_size]
    assert len(set(pairs)) == len(full_size)
    assert [from_prismatic(*pair) for pair in pairs] == list(full_size)


@pytest.mark.parametrize(
    "wrapped",
    [
        "vlm.vision_backbone.dino_featurizer.norm.weight",
        "module.vlm.vision_backbone.dino_featurizer.norm.weight",
        "_forward_module.vision_backbone.dino_featurizer.norm.weight",
        "vision_backbone._fsdp_wrapped_module.dino_featurizer._checkpoint_wrapped_module._orig_mod.norm.weight",
    ],
)
def test_wrappers_do_not_count(wrapped):
    assert bare(wrapped) == "vision_backbone.dino_featurizer.norm.weight"


def test_rotary_buffers_of_old_versions_are_idle():
    assert is_idle("llm_backbone.llm.model.layers.3.self_attn.rotary_emb.inv_freq")
    assert is_idle("llm_backbone.llm.model.rotary_emb.inv_freq")
    assert not is_idle("llm_backbone.llm.model.norm.weight")


def test_no_bare_key_of_ours_is_changed(full_size):
    assert [bare(key) for key in full_size] == list(full_size)


class Wrapped(nn.Module):
    """A module named as a wrapper names its inside."""

    def __init__(self) -> None:
        super().__init__()
        self.module = ActionModel(ModelConfig().head, 8, 7, 4)


def test_a_wrapped_modules_own_state_dict_is_bare_again():
    with torch.device("meta"):
        wrapped = Wrapped()
    assert {bare(key) for key in wrapped.state_dict()} == set(wrapped.module.state_dict())
