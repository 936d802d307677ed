"""What a path is, and what it is not."""

import json

import pytest
import torch

from stair.errors import StairError
from stair.models.formats.base_vlm import OURS, base_vlm_of, remark
from stair.models.formats.detect import detect, read_config
from stair.models.saved import SavedConfig, part_tensors, save_model
from tests.models.formats.making import CONFIG, INPUTS, VLM, fresh_model, modules_of, write_hf, write_run


@pytest.fixture(scope="module")
def model():
    return fresh_model()


@pytest.fixture
def run(tmp_path, model):
    return write_run(tmp_path / "openvla", modules_of(model, *VLM)).parents[1]


def test_a_run_directory_its_checkpoints_folder_and_its_file_are_one_place(run):
    file = next((run / "checkpoints").glob("*.pt"))
    for path in (run, run / "checkpoints", file):
        place = detect(path)
        assert (place.format, place.weights, place.run) == ("prismatic", file, run)


def test_a_lone_file_has_no_run(tmp_path, run):
    file = next((run / "checkpoints").glob("*.pt"))
    alone = tmp_path / "alone.pt"
    alone.write_bytes(file.read_bytes())
    assert detect(alone).run is None


def test_the_checkpoint_of_most_steps_is_taken_whatever_form_its_name_has(run, model):
    for name in ("step-000123.pt", "step-400000-epoch-54-loss=inf.pt", "step-300000.pt"):
        write_run(run, modules_of(model, "projector"), name=name)
    assert detect(run).weights.name == "step-400000-epoch-54-loss=inf.pt"
    write_run(run, modules_of(model, "projector"), name="latest-checkpoint.pt")
    assert detect(run).weights.name == "latest-checkpoint.pt"


def test_two_files_of_unknown_order_are_refused_by_name(tmp_path, model):
    for name in ("a.pt", "b.pt"):
        write_run(tmp_path, modules_of(model, "projector"), name=name)
    with pytest.raises(StairError, match=r"2 files of unknown order: a\.pt, b\.pt"):
        detect(tmp_path)


def test_a_hugging_face_folder_may_be_named_by_any_of_its_files(tmp_path, model):
    folder = write_hf(tmp_path / "hf", model)
    for path in (
        folder,
        folder / "model-00001-of-00002.safetensors",
        folder / "model.safetensors.index.json",
    ):
        assert (detect(path).format, detect(path).weights) == ("hf", folder)


def test_our_model_folder_and_run_are_known(tmp_path, model):
    folder = tmp_path / "run/checkpoints/step-0000007"
    save_model(folder / "model", SavedConfig("stage1", CONFIG, INPUTS, 7), part_tensors(model), {})
    (folder / "complete").touch()
    for path in (tmp_path / "run", folder / "model", folder / "model/model.safetensors"):
        assert (detect(path).format, detect(path).weights) == ("stair", folder / "model")


def test_nothing_at_a_path_says_how_to_fetch_it(tmp_path):
    with pytest.raises(StairError, match="does not exist") as caught:
        detect(tmp_path / "openvla-7b-prismatic")
    assert caught.value.hint == "tools/fetch-weights openvla-7b-prismatic"


def test_a_hugging_face_file_named_pt_is_refused(tmp_path, model):
    shard = write_hf(tmp_path / "hf", model) / "model-00001-of-00002.safetensors"
    shard.rename(tmp_path / "openvla.pt")
    with pytest.raises(
        StairError, match=r"safetensors file under the name of a \.pt: expected torch.save's form"
    ):
        detect(tmp_path / "openvla.pt")


@pytest.mark.parametrize("name", ["Wan22VM.pth", "Wan22VAM.pth", "Projector.pth"])
def test_the_dynamic_encoder_is_no_policy(tmp_path, name):
    torch.save({"model": {}}, tmp_path / name)
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(StairError, match="UniVAM's dynamic encoder") as caught:
            detect(path)
        assert "model.dynamic.checkpoint" in caught.value.hint


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"config.json": '{"model_type": "llama"}', "model.safetensors": ""}, "holds a llama model"),
        ({"pytorch_model-00001-of-00002.bin": ""}, "pytorch_model.bin files only"),
        ({"config.json": '{"vla": {}}'}, "holds no checkpoints/"),
        ({"config.json": "{"}, "cannot read"),
        ({"config.yaml": "stage: stage1"}, "without a complete checkpoint"),
        ({"readme.md": ""}, "is no checkpoint that is known here"),
        ({}, "is no checkpoint that is known here"),
    ],
)
def test_other_folders_are_refused_by_what_they_are(tmp_path, files, told):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(StairError, match=told) as caught:
        detect(tmp_path)
    assert caught.value.hint


def test_the_optimisers_file_is_no_checkpoint(run):
    file = run / "checkpoints/step-000123-epoch-01-loss=0.1.optimizer"
    torch.save({"optimizer": {}}, file)
    with pytest.raises(StairError, match="optimiser's state"):
        detect(file)


def test_a_base_vlm_is_found_by_name_by_run_and_by_directory(tmp_path, run):
    assert base_vlm_of(read_config(run), run) == OURS
    upon = {"vla": {"base_vlm": str(run)}}
    assert base_vlm_of(upon, tmp_path) == OURS
    assert base_vlm_of({"vla": {"base_vlm": run.name}}, tmp_path) == OURS
    base = tmp_path / "prism"
    base.mkdir()
    facts = {
        "vision_backbone_id": "siglip-vit-so400m",
        "llm_backbone_id": "llama2-7b-pure",
        "arch_specifier": "no-align+gelu-mlp",
        "image_resize_strategy": "letterbox",
        "llm_max_length": 2048,
    }
    (base / "config.json").write_text(json.dumps({"model": facts}))
    found = base_vlm_of({"vla": {"base_vlm": str(base)}}, tmp_path)
    assert found is not None
    assert (found.vision_backbone_id, found.image_resize_strategy) == ("siglip-vit-so400m", "letterbox")
    said = remark({"vla": {"base_vlm": str(base)}}, tmp_path)
    assert "image_resize_strategy letterbox (here resize-naive)" in said
    assert "llm_backbone_id" not in said
    assert remark(read_config(run), run) == ""


def test_an_unknown_base_vlm_is_remarked_and_a_circle_refused(tmp_path):
    config = {"vla": {"base_vlm": "prism-of-tomorrow"}}
    assert base_vlm_of(config, tmp_path) is None
    assert "'prism-of-tomorrow' is not known here" in remark(config, tmp_path)
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"vla": {"base_vlm": str(tmp_path / other)}}))
    with pytest.raises(StairError, match="its own base_vlm"):
        base_vlm_of(read_config(tmp_path / "a"), tmp_path)
