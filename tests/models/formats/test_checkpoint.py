"""Checkpoints of any origin fill our parts, or are refused with what was found and expected."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stair.errors import StairError
from stair.models.config import HeadConfig
from stair.models.formats.checkpoint import OWN, family_of, open_checkpoint
from stair.models.saved import SavedConfig, part_tensors, save_model
from tests.models.formats.making import (
    CONFIG,
    INPUTS,
    STATISTICS,
    VLM,
    cogact_modules,
    fresh_model,
    modules_of,
    same,
    write_hf,
    write_run,
)


@pytest.fixture(scope="module")
def model():
    return fresh_model(seed=0)


@pytest.fixture
def other():
    """A model with other weights, to be filled."""
    return fresh_model(seed=1)


def test_an_openvla_run_fills_the_vlm_and_nothing_else(tmp_path, model, other):
    write_run(tmp_path, modules_of(model, *VLM))
    checkpoint = open_checkpoint(tmp_path)
    assert (checkpoint.family, checkpoint.parts) == ("openvla", VLM)
    before = {key: value.clone() for key, value in part_tensors(other).items()}
    assert checkpoint.load(other, VLM) == []
    assert same(model, other, *VLM)
    untouched = {key for key, value in part_tensors(other).items() if torch.equal(value, before[key])}
    assert {key.split(".")[0] for key in untouched} == {"action_model", "projection", "oformer", "auxiliary"}


def test_the_parts_of_a_stair_model_are_those_it_has(model):
    assert set(OWN) == set(model.parts())


@pytest.mark.parametrize(
    ("modules", "family"),
    [
        (VLM, "openvla"),
        ((*VLM, "action_model", "ema_diffusion"), "cogact"),
        ((*VLM, "action_model", "qformer", "oformer"), "wog"),
        ((*VLM, "action_model", "projection"), "stair"),
        ((*VLM, "action_model", "oformer", "dynamic"), "stair"),
    ],
)
def test_a_checkpoints_family_is_told_by_its_modules(modules, family):
    assert family_of(modules) == family


def test_the_statistics_of_the_run_come_with_it(tmp_path, model):
    write_run(tmp_path, modules_of(model, *VLM))
    statistics = open_checkpoint(tmp_path).statistics()
    assert statistics["bridge_orig"].num_transitions == 2135463
    assert statistics["bridge_orig"].action.mask == (True,) * 6 + (False,)
    assert list(statistics["bridge_orig"].action.q99) == STATISTICS["bridge_orig"]["action"]["q99"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_hugging_faces_openvla_fills_the_vlm(tmp_path, model, other, dtype):
    checkpoint = open_checkpoint(write_hf(tmp_path / "hf", model, dtype))
    assert (checkpoint.family, set(checkpoint.parts)) == ("openvla", set(VLM))
    checkpoint.load(other, VLM)
    for name in VLM:
        for key, value in model.parts()[name].state_dict().items():
            filled = other.parts()[name].state_dict()[key]
            assert filled.dtype == torch.float32
            assert torch.equal(filled, value.to(dtype).float())
    assert "bridge_orig" in checkpoint.statistics()


def test_wrappers_and_rotary_buffers_in_a_file_do_not_matter(tmp_path, model, other):
    modules = modules_of(model, *VLM)
    modules["llm_backbone"]["llm.model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    write_run(tmp_path, {f"vlm.{name}": state for name, state in modules.items()})
    open_checkpoint(tmp_path).load(other, VLM)
    assert same(model, other, *VLM)


@pytest.mark.parametrize("family", ["cogact", "wog"])
def test_of_other_heads_only_what_the_family_shares_is_taken(tmp_path, model, other, family):
    write_run(tmp_path, cogact_modules(model, family))
    checkpoint = open_checkpoint(tmp_path)
    assert (checkpoint.family, set(checkpoint.parts)) == (family, {*VLM, "action_model"})
    before = {key: value.clone() for key, value in other.action_model.state_dict().items()}
    fresh = checkpoint.load(other, [*VLM, "action_model"])
    after, source = other.action_model.state_dict(), model.action_model.state_dict()
    own = {key for key in after if "per_" in key or "norm3" in key}
    assert {key.removeprefix("action_model.") for key in fresh} == own
    assert all(torch.equal(after[key], before[key]) for key in own)
    assert all(torch.equal(after[key], source[key]) for key in after if key not in own)
    assert "single tensors" in checkpoint.left_in_short
    assert ("qformer" in checkpoint.left) == (family == "wog")


def test_upstream_defect_1_wogs_dead_queries_and_keys_are_not_taken_over(tmp_path, model, other):
    modules = cogact_modules(model, "wog")
    for key in modules["action_model"]:
        if "per_attn.in_proj" in key:
            modules["action_model"][key].zero_()
    write_run(tmp_path, modules)
    open_checkpoint(tmp_path).load(other, ["action_model"])
    for block in other.action_model.net.blocks:
        assert block.per_attn.in_proj_weight.abs().min() > 0


def test_a_head_of_another_size_is_refused_with_both_shapes_and_left_as_it_was(tmp_path, model):
    write_run(tmp_path, cogact_modules(model))
    larger = fresh_model(1, replace(CONFIG, head=HeadConfig(depth=3, width=64, heads=2, repeats=2)))
    before = {key: value.clone() for key, value in part_tensors(larger).items()}
    with pytest.raises(
        StairError, match=r"has shape \[17, 32\], the configuration says \[17, 64\] \(and \d+ more"
    ) as caught:
        open_checkpoint(tmp_path).load(larger, [*VLM, "action_model"])
    assert "--model.head.depth 2 --model.head.width 32" in caught.value.hint
    assert all(torch.equal(value, before[key]) for key, value in part_tensors(larger).items())


def test_a_deeper_llm_in_the_file_is_refused_not_cut(tmp_path, model):
    write_run(tmp_path, modules_of(model, *VLM))
    shallow = fresh_model(1, replace(CONFIG, llm=replace(CONFIG.llm, depth=1)))
    with pytest.raises(StairError, match=r"no place for, first llm_backbone\.llm\.model\.layers\.1"):
        open_checkpoint(tmp_path).load(shallow, VLM)


def test_a_missing_tensor_is_named(tmp_path, model, other):
    modules = modules_of(model, *VLM)
    del modules["projector"]["projector.2.bias"]
    write_run(tmp_path, modules)
    with pytest.raises(
        StairError, match=r"lacks 1 tensors of projector, first projector\.projector\.2\.bias"
    ):
        open_checkpoint(tmp_path).load(other, VLM)


def test_our_own_folder_is_opened_in_the_same_way(tmp_path, model, other):
    saved = SavedConfig("stage2", CONFIG, INPUTS, 9)
    save_model(tmp_path / "m", saved, part_tensors(model), STATISTICS, shard_bytes=20_000)
    assert len(list((tmp_path / "m").glob("model-*.safetensors"))) > 1
    checkpoint = open_checkpoint(tmp_path / "m")
    assert checkpoint.saved == saved
    assert "STAIR stage2 model folder" in checkpoint.title
    assert "bridge_orig" in checkpoint.statistics()
    checkpoint.load(other, list(other.parts()))
    assert same(model, other, *model.parts())


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({"vae_proj.weight": torch.ones(1), "vae_proj.bias": torch.ones(1)}, "UniVAM's dynamic encoder"),
        ({"patch_embedding.weight": torch.ones(1)}, "UniVAM's dynamic encoder"),
        ({"qwen_vl_interface.model.a": torch.ones(1)}, "a StarVLA model"),
        ({"language_model.lm_head.weight": torch.ones(1)}, "a bare language model"),
        ({"encoder.a": torch.ones(1)}, "holds encoder and no vision_backbone"),
    ],
)
def test_other_models_are_refused_by_what_they_are(tmp_path, tree, told):
    torch.save({"model": tree, "global_step": 1}, tmp_path / "a.pt")
    with pytest.raises(StairError, match=told):
        open_checkpoint(tmp_path / "a.pt")


def test_a_hugging_face_folder_of_another_model_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"model.layers.0.weight": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(StairError, match="holds no tensor of openvla-7b"):
        open_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    with pytest.raises(StairError, match="holds a LlamaForCausalLM model"):
        open_checkpoint(tmp_path)


def test_opening_reads_no_tensor(tmp_path):
    """A tenth of a gigabyte: reading it would show in the memory of the process."""

    def resident_mb() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

    file = write_run(
        tmp_path, {"projector": {f"projector.{n}.weight": torch.zeros(6_000_000) for n in range(4)}}
    )
    before = resident_mb()
    checkpoint = open_checkpoint(file)
    assert sum(stored.count for stored in checkpoint.tensors.values()) == 24_000_000
    assert resident_mb() - before < 20
    assert all(stored.read().sum() == 0 for stored in checkpoint.tensors.values())
    assert resident_mb() - before > 60  # so that the line above could have failed
