"""What is written in another form says the same: bit-equal outputs, whole or not at all."""

import json

import pytest
import torch

from stair.errors import StairError
from stair.models.formats.checkpoint import open_checkpoint
from stair.models.formats.hf_writer import write_hf
from stair.models.formats.prismatic_writer import Moment, run_config, write_prismatic
from stair.models.formats.stored import Stored
from stair.models.saved import SavedConfig, load_model, part_tensors, save_model
from tests.models.formats.making import CONFIG, INPUTS, STATISTICS, VLM, fresh_model, same
from tests.models.small import make_batch

SAVED = SavedConfig("stage2", CONFIG, INPUTS, 7)


@pytest.fixture(scope="module")
def model():
    return fresh_model().eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model):
    """The model in our own form."""
    place = tmp_path_factory.mktemp("ours") / "model"
    save_model(place, SAVED, part_tensors(model), STATISTICS)
    return place


def predict(model):
    batch, noise = make_batch(), torch.randn(4, 16, 7, generator=torch.Generator().manual_seed(3))
    return model.predict(batch.images, batch.token_ids, batch.token_mask, noise)


def write(run, checkpoint, **kwargs):
    return write_prismatic(
        run,
        checkpoint.tensors,
        run_config(checkpoint.saved),
        checkpoint.statistics(),
        Moment(7, 2, 0.25),
        **kwargs,
    )


def test_a_prismatic_run_has_upstreams_files_names_and_modules(tmp_path, folder):
    told = []
    file = write(tmp_path / "run", open_checkpoint(folder), told=told.append)
    assert file == tmp_path / "run/checkpoints/step-000007-epoch-02-loss=0.2500.pt"
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "config.json",
        "config.yaml",
        "dataset_statistics.json",
        "checkpoints",
    }
    tree = torch.load(file, weights_only=True)
    assert list(tree) == ["model"]
    assert set(tree["model"]) == {*VLM, "action_model", "projection", "oformer", "auxiliary"}
    assert "projector.4.bias" in tree["model"]["projector"]
    assert json.loads((tmp_path / "run/dataset_statistics.json").read_text()).keys() == STATISTICS.keys()
    assert told == sorted(told)
    assert told[-1] == file.stat().st_size


def test_config_json_and_yaml_are_twins_that_say_what_the_model_is(tmp_path, folder):
    import yaml

    write(tmp_path / "run", open_checkpoint(folder))
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config == yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert config["vla"]["type"] == "stair-dinosiglip-224px+oxe+stage2"
    assert run_config(SavedConfig())["vla"]["base_vlm"] == "prism-dinosiglip-224px+7b"
    assert run_config(SavedConfig())["action_model_type"] == "DiT-B"


def test_through_the_prismatic_layout_and_back_outputs_are_bit_equal(tmp_path, folder, model):
    write(tmp_path / "run", open_checkpoint(folder))
    checkpoint = open_checkpoint(tmp_path / "run")
    assert checkpoint.saved == SAVED
    other = fresh_model(seed=1).eval()
    assert not torch.equal(predict(other), predict(model))
    checkpoint.load(other, list(other.parts()))
    assert torch.equal(predict(other), predict(model))
    trees = {name: value.to_json() for name, value in checkpoint.statistics().items()}
    save_model(tmp_path / "again", SAVED, checkpoint.tensors, trees)
    loaded, saved = load_model(tmp_path / "again")
    assert torch.equal(predict(loaded), predict(model))
    assert saved.statistics["bridge_orig"]["action"] == STATISTICS["bridge_orig"]["action"]


def test_the_frozen_encoder_is_never_written_and_the_oformer_always(tmp_path, folder):
    write(tmp_path / "run", open_checkpoint(folder))
    parts = open_checkpoint(tmp_path / "run").parts
    assert "dynamic_encoder" not in parts
    assert {"oformer", "projection"} <= set(parts)


def test_hugging_faces_folder_holds_the_vlm_in_shards(tmp_path, folder, model):
    checkpoint = open_checkpoint(folder)
    write_hf(tmp_path / "hf", checkpoint.tensors, checkpoint.statistics(), shard_bytes=50_000)
    assert len(list((tmp_path / "hf").glob("*.safetensors"))) > 1
    again = open_checkpoint(tmp_path / "hf")
    assert set(again.parts) == set(VLM)
    assert "bridge_orig" in again.statistics()
    other = fresh_model(seed=1)
    again.load(other, VLM)
    assert same(model, other, *VLM)


def test_views_are_saved_as_themselves_not_with_all_they_view(tmp_path):
    large = torch.arange(100_000.0)
    tensors = {"projector.projector.0.bias": Stored.of(large[:3])}
    file = write_prismatic(tmp_path / "run", tensors, {}, {}, Moment())
    assert file.name == "step-000000-epoch-00-loss=inf.pt"
    assert file.stat().st_size < 10_000
    assert torch.equal(open_checkpoint(file).tensors["projector.projector.0.bias"].read(), large[:3])


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path, folder):
    def full(written):
        raise OSError(28, "No space left on device")

    with pytest.raises(StairError, match="No space left"):
        write(tmp_path / "run", open_checkpoint(folder), told=full)
    with pytest.raises(StairError, match="No space left"):
        write_hf(tmp_path / "hf", open_checkpoint(folder).tensors, {}, told=full)
    assert not list(tmp_path.iterdir())
