"""Our encoder of the Wan2.2 VAE; what diffusers computes is recorded in golden/ by tools/model_parity.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from stair.errors import StairError
from stair.models.parts.wan_vae import WanVaeConfig, WanVaeEncoder, averaged, fold_patches
from tests.models.small_univam import VAE
from tools.parity_weights import noise, stirred

RECORDED = json.loads((Path(__file__).parent / "golden" / "univam_reference.json").read_text())["vae"]


@pytest.fixture(scope="module")
def vae() -> WanVaeEncoder:
    """With the weights that diffusers had when it was recorded."""
    values = {"_class_name": "AutoencoderKLWan", **RECORDED["config"]}
    return stirred(WanVaeEncoder(WanVaeConfig.read(values, "recorded")))  # type: ignore[return-value]


def clip(frames: int) -> torch.Tensor:
    return noise(f"clip{frames}", 0, (2, 3, frames, 48, 32)).clamp(-1, 1)


@torch.no_grad()
def test_moments_are_those_that_diffusers_computes_in_chunks_of_one_and_four_frames(vae):
    for name, found in zip(("mean5", "log_variance5"), vae(clip(5)), strict=True):
        recorded = torch.tensor(RECORDED["outputs"][name])
        assert found[0].shape == (4, 2, 3, 2)
        torch.testing.assert_close(found[0].flatten(), recorded, atol=2e-5, rtol=1e-5)


def test_full_size_names_and_shapes_are_those_of_diffusers():
    with torch.device("meta"):
        full = WanVaeEncoder(WanVaeConfig())
    assert {name: list(value.shape) for name, value in full.state_dict().items()} == RECORDED["full"]


@torch.no_grad()
def test_the_future_never_changes_the_latents_of_the_past(vae):
    nine = clip(9)
    whole = vae(nine)[0]
    torch.testing.assert_close(vae(nine[:, :, :5])[0], whole[:, :, :2], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(vae(nine[:, :, :1])[0], whole[:, :, :1], atol=1e-5, rtol=1e-5)
    nine[:, :, 8] += 0.5
    changed = vae(nine)[0]
    torch.testing.assert_close(changed[:, :, :2], whole[:, :, :2], atol=1e-5, rtol=1e-5)
    assert (changed[:, :, 2] - whole[:, :, 2]).abs().max() > 1e-3


def test_the_shortcut_averages_blocks_and_halves_the_first_frame():
    x = torch.arange(2 * 3 * 2 * 2, dtype=torch.float32).view(1, 2, 3, 2, 2)
    found = averaged(x, 1, time=2, space=2)
    everything = x.mean((1, 3, 4))[0]
    expected = torch.stack([everything[0] / 2, everything[1:].mean()])
    torch.testing.assert_close(found.flatten(), expected)


def test_patches_become_channels_column_by_column():
    pixels = torch.arange(4.0).view(1, 1, 1, 2, 2)
    assert fold_patches(pixels, 2).flatten().tolist() == [0.0, 2.0, 1.0, 3.0]


def test_factors_are_sixteen_in_space_and_four_in_time():
    assert (WanVaeConfig().spatial, WanVaeConfig().temporal) == (16, 4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"is_residual": False}, "without residual blocks; expected the AutoencoderKLWan of Wan2.2"),
        ({"_class_name": "AutoencoderKL"}, "describes AutoencoderKL; expected"),
        ({"latents_mean": [0.0] * 16}, "latents_mean has 16 values for 4 channels"),
    ],
)
def test_another_autoencoder_is_refused(change, said):
    with pytest.raises(StairError, match=said):
        WanVaeConfig.read(VAE | change, "config.json")


def test_statistics_of_the_latents_are_never_made_up():
    without = {key: value for key, value in VAE.items() if key != "latents_std"}
    with pytest.raises(StairError, match=r"config\.json does not say latents_std"):
        WanVaeConfig.read(without, "config.json")
