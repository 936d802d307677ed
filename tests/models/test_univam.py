"""The UniVAM encoder: what it computes, that it is frozen, and which files it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from stair.data.config import ClipConfig, clip_offsets
from stair.errors import StairError
from stair.models.build import build_model
from stair.models.config import DynamicConfig
from stair.models.parts.dynamic import FrozenEncoder, build_encoder
from stair.models.parts.univam import ProjectorShape, QformerProjector
from tests.models.small import CONFIG, INPUTS, make_batch
from tests.models.small_univam import CLIP, SHAPE, WIDTH, clips, vae_proj_weights, write_univam
from tools.parity_weights import noise, stirred

RECORDED = json.loads((Path(__file__).parent / "golden" / "univam_reference.json").read_text())["projector"]


@pytest.fixture
def config(tmp_path: Path) -> DynamicConfig:
    return write_univam(tmp_path)


def tokens_of(config: DynamicConfig, video: torch.Tensor | None = None) -> torch.Tensor:
    return build_encoder(config, CLIP)(clips() if video is None else video)


def test_full_size_has_the_documented_parameters_and_names():
    with torch.device("meta"):
        projector = QformerProjector(ProjectorShape())
        vae_proj = nn.Conv3d(48, 4096, (1, 2, 2), stride=(1, 2, 2))
    assert sum(p.numel() for p in projector.parameters()) == 2_030_325_760
    assert sum(p.numel() for p in vae_proj.parameters()) == 790_528
    assert {name: list(value.shape) for name, value in projector.state_dict().items()} == RECORDED["full"]


@torch.no_grad()
def test_the_projector_computes_what_diffusers_blocks_compute():
    sizes = RECORDED["sizes"]
    ours = stirred(QformerProjector(ProjectorShape(**sizes, inner=256, output=64)))
    found = ours(noise("memory", 0, (2, 12, sizes["memory"])))
    recorded = torch.tensor(RECORDED["outputs"]["tokens"])
    torch.testing.assert_close(found[0].flatten(), recorded, atol=2e-5, rtol=1e-5)


def test_visual_tokens_have_no_order():
    projector = stirred(QformerProjector(SHAPE))
    memory = noise("memory", 0, (2, 8, SHAPE.memory))
    torch.testing.assert_close(projector(memory), projector(memory.flip(1)), atol=1e-5, rtol=1e-5)


def test_a_clip_becomes_two_normalised_tokens_in_fp32(config):
    tokens = tokens_of(config)
    assert tokens.shape == (2, 2, WIDTH)
    assert tokens.dtype == torch.float32
    torch.testing.assert_close(tokens.var(-1, unbiased=False), torch.ones(2, 2), atol=1e-3, rtol=0)
    assert not torch.allclose(tokens[0], tokens[1])


def test_upstream_defect_15_two_encodings_of_a_clip_are_the_same(config):
    encoder = build_encoder(config, CLIP)
    assert torch.equal(encoder(clips()), encoder(clips()))


def test_a_sampled_posterior_belongs_to_the_clip_whatever_its_batch(config):
    sampled = replace(config, posterior="sample")
    tokens = tokens_of(sampled)
    assert torch.equal(tokens, tokens_of(sampled))
    torch.testing.assert_close(tokens_of(sampled, clips().flip(0)).flip(0), tokens, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(tokens, tokens_of(config), atol=1e-3)
    assert not torch.allclose(tokens, tokens_of(replace(sampled, seed=1)), atol=1e-3)


def test_upstream_defects_10b_and_15b_nothing_wakes_the_frozen_encoder(config):
    model = build_model(replace(CONFIG, dynamic=config), INPUTS)
    encoder = model.dynamic_encoder
    before = encoder(clips())
    for wake in (model.train, encoder.train, lambda: encoder.train(True), model.eval):
        wake()
        assert torch.equal(encoder(clips()), before)
        assert not any(module.training for net in encoder.held for module in net.modules())
    assert not before.requires_grad
    assert not any(p.requires_grad for net in encoder.held for p in net.parameters())


def test_frozen_weights_are_in_no_optimiser_and_no_checkpoint(config):
    model = build_model(replace(CONFIG, dynamic=config), INPUTS)
    assert not list(model.dynamic_encoder.parameters())
    assert not [name for name in model.state_dict() if name.startswith("dynamic_encoder")]
    assert "dynamic_encoder" not in model.parts()
    weights = {k: v.clone() for k, v in model.dynamic_encoder.held[0].state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    draws = model.draw(4, torch.Generator().manual_seed(0))
    model.train()(make_batch(), draws, "dynamic")["loss"].backward()
    optimizer.step()
    assert model.projection.weight.grad is not None
    after = model.dynamic_encoder.held[0].state_dict()
    assert all(torch.equal(after[name], value) for name, value in weights.items())


def test_the_encoder_is_real_in_a_model_that_is_only_shaped(config):
    with torch.device("meta"):
        model = build_model(replace(CONFIG, dynamic=config), INPUTS)
    assert model.projection.weight.is_meta
    assert torch.equal(model.dynamic_encoder(clips()), tokens_of(config))


def test_upstream_defect_16_the_spacing_of_frames_is_a_setting():
    assert clip_offsets(ClipConfig()) == (-8, -4, 0, 4, 8)
    univam = ClipConfig(stride=1, preset="future", strides={"fractal20220817_data": 2})
    assert clip_offsets(univam) == (0, 1, 2, 3, 4)
    assert clip_offsets(univam, "fractal20220817_data") == (0, 2, 4, 6, 8)


def test_bf16_stays_near_fp32_and_autocast_changes_nothing(config):
    encoder = build_encoder(config, CLIP)
    exact = encoder(clips())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(encoder(clips()), exact)
    rough = tokens_of(replace(config, precision="bf16"))
    assert rough.dtype == torch.float32
    assert 1e-4 < (rough - exact).abs().max() < 0.3


def test_clips_of_other_lengths_repeat_their_last_frame(config, tmp_path):
    file = tmp_path / "univam" / "config.yaml"
    file.write_text(file.read_text().replace("frames: 5", "frames: 4"))
    four = clips(frames=4)
    encoder = build_encoder(config, replace(CLIP, frames=4))
    assert torch.equal(encoder(four), encoder(torch.cat([four, four[:, -1:]], dim=1)))


@pytest.mark.parametrize("prefix", ["", "module.", "_forward_module.", "_forward_module.module."])
def test_wrappers_of_fabric_and_ddp_are_seen_through(config, tmp_path, prefix):
    expected, folder = tokens_of(config), tmp_path / "univam"
    projector = torch.load(folder / "Projector.pth", weights_only=True)
    torch.save({prefix + key: value for key, value in projector.items()}, folder / "Projector.pth")
    weights = {prefix + key: value for key, value in vae_proj_weights().items()}
    torch.save({"model": weights, "global_step": 1}, folder / "Wan22VM.pth")
    assert torch.equal(tokens_of(config), expected)


def test_the_vae_is_found_where_config_yaml_says(config, tmp_path, monkeypatch):
    expected, elsewhere = tokens_of(config), replace(config, wan_vae="")
    with pytest.raises(StairError, match="and PRETRAINED_MODEL_PATH is not set") as refused:
        build_encoder(elsewhere, CLIP)
    assert "--train.model.dynamic.wan_vae FOLDER" in refused.value.hint
    monkeypatch.setenv("PRETRAINED_MODEL_PATH", str(tmp_path))
    assert torch.equal(tokens_of(elsewhere), expected)
    assert torch.equal(tokens_of(replace(config, wan_vae=str(tmp_path / "wan" / "vae"))), expected)


def test_a_vae_in_shards_is_the_same(config, tmp_path):
    from safetensors.torch import load_file, save_file

    expected, folder = tokens_of(config), tmp_path / "wan" / "vae"
    whole = folder / "diffusion_pytorch_model.safetensors"
    tensors = load_file(whole)
    whole.unlink()
    names = sorted(tensors)
    places = {name: f"part-{nth % 2}.safetensors" for nth, name in enumerate(names)}
    for part in set(places.values()):
        save_file({n: tensors[n] for n in names if places[n] == part}, folder / part)
    (folder / f"{whole.name}.index.json").write_text(json.dumps({"weight_map": places}))
    assert torch.equal(tokens_of(config), expected)


def test_identity_tells_weights_apart_and_not_where_they_lie(config, tmp_path):
    def identity(config: DynamicConfig) -> dict:
        encoder = build_encoder(config, CLIP)
        before = encoder.identity
        encoder(clips())
        assert encoder.identity == before
        return before

    mine = identity(config)
    assert identity(write_univam(tmp_path / "again")) == mine
    assert identity(write_univam(tmp_path / "other", seed=1))["weights"] != mine["weights"]
    assert identity(replace(config, posterior="sample")) != mine
    assert json.loads(json.dumps(mine)) == mine


def save(file: Path, value: object) -> None:
    torch.save(value, file)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-2000])


def edit(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


WRONG = {
    "older file": (
        lambda u, w: (u / "Wan22VM.pth").rename(u / "Wan22VAM.pth"),
        r"Wan22VAM\.pth is of an older UniVAM.*patch_embedding; expected Wan22VM\.pth with vae_proj",
    ),
    "older content": (
        lambda u, w: save(u / "Wan22VM.pth", {"model": {"patch_embedding.weight": torch.zeros(3072, 48)}}),
        r"older UniVAM, whose clips enter by patch_embedding \[3072, 48\]",
    ),
    "exchanged": (
        lambda u, w: save(u / "Wan22VM.pth", {"query_tokens": torch.zeros(1, 2, 8)}),
        r"Wan22VM\.pth has no vae_proj\.weight; its 1 tensors begin with query_tokens",
    ),
    "mlp": (
        lambda u, w: edit(u / "config.yaml", "type: qformer", "type: mlp"),
        r"projector\.type is mlp; expected qformer",
    ),
    "mlp file": (
        lambda u, w: save(u / "Projector.pth", {"net.0.weight": torch.zeros(2)}),
        r"Projector\.pth has no query_tokens: its 1 tensors begin with net\.0\.weight",
    ),
    "image size": (
        lambda u, w: edit(u / "config.yaml", "[32, 32]", "[256, 256]"),
        r"trained on clips of 256 x 256, inputs\.clip\.image_size is 32",
    ),
    "frames": (
        lambda u, w: edit(u / "config.yaml", "frames: 5", "frames: 9"),
        r"trained on clips of 9 frames, inputs\.clip\.frames is 5",
    ),
    "heads": (
        lambda u, w: edit(u / "config.yaml", "heads: 4", "heads: 7"),
        r"24 channels do not divide among 7 heads",
    ),
    "truncated": (lambda u, w: cut(u / "Projector.pth"), r"Projector\.pth \([\d,]+ bytes\) .*cut off"),
    "truncated VAE": (
        lambda u, w: cut(w / "vae" / "diffusion_pytorch_model.safetensors"),
        r"safetensors has [\d,]+ bytes, its header says [\d,]+",
    ),
    "no VAE": (lambda u, w: (w / "vae").rename(w / "av"), r"wan_vae: .*wan holds no vae/config\.json"),
    "no VAE weights": (
        lambda u, w: (w / "vae" / "diffusion_pytorch_model.safetensors").unlink(),
        r"no VAE weights at .*diffusion_pytorch_model\.safetensors",
    ),
    "another VAE": (
        lambda u, w: edit(w / "vae" / "config.json", '"is_residual": true', '"is_residual": false'),
        r"without residual blocks; expected the AutoencoderKLWan of Wan2\.2",
    ),
    "VAE of other widths": (
        lambda u, w: edit(w / "vae" / "config.json", '"base_dim": 8', '"base_dim": 16'),
        r"vae: encoder\.\S+ has shape \[.*\], expected \[.*\]",
    ),
    "no file": (
        lambda u, w: (u / "Projector.pth").unlink(),
        r"univam lacks Projector\.pth; it holds Wan22VM\.pth, config\.yaml",
    ),
    "no folder": (
        lambda u, w: u.rename(u.with_name("gone")),
        r"no UniVAM checkpoint at .*univam: it is no folder",
    ),
    "a layer too few": (
        lambda u, w: save(
            u / "Projector.pth",
            {
                k: v
                for k, v in torch.load(u / "Projector.pth", weights_only=True).items()
                if "layers.1.cross_attn.ff" not in k
            },
        ),
        r"Projector\.pth lacks 4 tensors, first qformer_layers\.1\.cross_attn\.ff",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_refused_with_what_was_found_and_what_to_try(config, tmp_path, case):
    spoil, said = WRONG[case]
    spoil(tmp_path / "univam", tmp_path / "wan")
    with pytest.raises(StairError, match=said) as refused:
        build_encoder(config, CLIP)
    assert refused.value.hint
    assert len(str(refused.value).splitlines()) == 2


def test_tokens_of_another_size_and_an_empty_setting_are_refused(config):
    with pytest.raises(StairError, match=r"makes 2 tokens of 24, model\.dynamic says 2 of 4096"):
        build_encoder(replace(config, width=4096), CLIP)
    with pytest.raises(StairError, match=r"model\.dynamic\.checkpoint is empty"):
        build_encoder(DynamicConfig("univam"), CLIP)


def test_without_config_yaml_the_released_values_are_assumed_and_said(config, tmp_path, capsys):
    (tmp_path / "univam" / "config.yaml").unlink()
    with pytest.raises(StairError, match="trained on clips of 256 x 256"):
        build_encoder(config, CLIP)
    assert "8 heads and clips of 5 x 256 x 256 are assumed" in capsys.readouterr().err
    assert isinstance(build_encoder(config, replace(CLIP, image_size=256)), FrozenEncoder)


def test_a_sharded_run_trains_as_a_whole_one_and_saves_nothing_of_the_encoder(tmp_path: Path):
    from safetensors.torch import load_file

    from tests.train.small import column, make_data, settings_of, train_here

    root = make_data(tmp_path / "data")
    config = write_univam(tmp_path / "weights")
    flags = {
        f"model__dynamic__{name}": getattr(config, name)
        for name in ("kind", "width", "checkpoint", "wan_vae")
    }
    for how in ("none", "full"):
        assert train_here(settings_of(tmp_path / how, root, steps=2, engine__shard=how, **flags)) == 0
    assert column(tmp_path / "full", "loss") == pytest.approx(column(tmp_path / "none", "loss"), abs=1e-5)
    saved = load_file(tmp_path / "full/checkpoints/step-0000002/model/model.safetensors")
    assert {key.split(".")[0] for key in saved} == set(build_model(CONFIG, INPUTS).parts())
