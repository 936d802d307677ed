"""Model folders: whole or not there, refused by name when they do not fit."""

import json
from dataclasses import replace

import pytest
import torch

from stair.errors import StairError
from stair.models.build import build_model
from stair.models.saved import SavedConfig, load_model, load_parts, part_tensors, save_model
from tests.models.small import CONFIG, INPUTS, make_batch

STATISTICS = {"tabletop": {"action": {"q01": [0.0] * 7, "q99": [1.0] * 7}}}


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    model = build_model(CONFIG, INPUTS)
    save_model(tmp_path / "model", SavedConfig("stage2", CONFIG, INPUTS, 7), part_tensors(model), STATISTICS)
    return tmp_path / "model"


def test_a_saved_model_acts_bit_for_bit_as_before(folder):
    torch.manual_seed(0)
    original = build_model(CONFIG, INPUTS).eval()
    loaded, saved = load_model(folder)
    batch, noise = make_batch(), torch.randn(4, 16, 7)
    args = (batch.images, batch.token_ids, batch.token_mask, noise)
    assert torch.equal(original.predict(*args), loaded.predict(*args))
    assert saved.config == SavedConfig("stage2", CONFIG, INPUTS, 7)
    assert saved.statistics == STATISTICS
    assert loaded.dynamic_encoder is None


def test_upstream_defect_2_oformer_and_projection_are_saved_and_the_teacher_is_not(folder):
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="pt") as file:
        parts = {key.split(".")[0] for key in file.keys()}  # noqa: SIM118
    assert {"oformer", "projection", "action_model", "llm_backbone"} <= parts
    assert "dynamic_encoder" not in parts


def test_a_model_of_another_size_is_refused_by_key_and_shape(folder):
    wider = replace(CONFIG, head=replace(CONFIG.head, width=64))
    with pytest.raises(StairError, match=r"action_model\.net\..*has shape"):
        load_parts(build_model(wider, INPUTS), folder, ["action_model"])


def test_a_truncated_file_is_refused(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(StairError, match="damaged or incomplete"):
        load_model(folder)


def test_a_missing_part_is_named(folder):
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if not k.startswith("oformer")}, file)
    with pytest.raises(StairError, match="oformer"):
        load_model(folder)


def test_no_model_at_a_path_says_what_is_missing(tmp_path):
    with pytest.raises(StairError, match="does not exist"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(StairError, match="neither"):
        load_model(tmp_path)


def test_saving_over_an_older_model_leaves_no_rest(folder):
    (folder / "statistics.json").write_text(json.dumps({}))
    model = build_model(CONFIG, INPUTS)
    save_model(folder, SavedConfig("stage1", CONFIG, INPUTS, 9), part_tensors(model), STATISTICS)
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.yaml",
        "model.safetensors",
        "statistics.json",
    ]
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_large_model_is_saved_in_shards_and_acts_bit_for_bit_as_before(tmp_path):
    torch.manual_seed(0)
    original = build_model(CONFIG, INPUTS).eval()
    config = SavedConfig("stage2", CONFIG, INPUTS, 7)
    save_model(tmp_path / "model", config, part_tensors(original), STATISTICS, shard_bytes=50_000)
    files = list((tmp_path / "model").glob("*.safetensors"))
    assert len(files) > 2
    largest = max(tensor.nbytes for tensor in part_tensors(original).values())
    assert all(file.stat().st_size < max(50_000, largest) + 20_000 for file in files)
    loaded, _ = load_model(tmp_path / "model")
    batch, noise = make_batch(), torch.randn(4, 16, 7)
    args = (batch.images, batch.token_ids, batch.token_mask, noise)
    assert torch.equal(original.predict(*args), loaded.predict(*args))


def test_a_missing_shard_is_named(tmp_path):
    model = build_model(CONFIG, INPUTS)
    config = SavedConfig("stage2", CONFIG, INPUTS, 7)
    save_model(tmp_path / "model", config, part_tensors(model), STATISTICS, shard_bytes=50_000)
    sorted((tmp_path / "model").glob("*.safetensors"))[1].unlink()
    with pytest.raises(StairError, match="lacks model-00002-of-"):
        load_model(tmp_path / "model")


def test_a_checkpoint_of_another_form_is_refused_with_the_way_to_convert_it(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    torch.save({"model": {}}, tmp_path / "checkpoints/step-000001-epoch-00-loss=inf.pt")
    for path in (tmp_path, tmp_path / "checkpoints/step-000001-epoch-00-loss=inf.pt"):
        with pytest.raises(StairError, match="no STAIR model folder") as caught:
            load_model(path)
        assert "convert-checkpoint" in caught.value.hint
