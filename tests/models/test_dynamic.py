"""The mock dynamic encoder: frozen, deterministic, sees motion."""

import torch

from stair.models.config import DynamicConfig
from stair.models.parts.dynamic import MockEncoder

CONFIG = DynamicConfig(width=24, grid=4)


def clip(shift: int) -> torch.Tensor:
    """A bright square that moves `shift` pixels a frame."""
    frames = torch.zeros(1, 5, 3, 32, 32, dtype=torch.uint8)
    for k in range(5):
        left = 12 + shift * (k - 2)
        frames[0, k, :, 12:20, left : left + 8] = 255
    return frames


def test_two_encoders_of_one_seed_agree_and_another_seed_does_not():
    first, again = MockEncoder(CONFIG, 5), MockEncoder(CONFIG, 5)
    other = MockEncoder(DynamicConfig(width=24, grid=4, seed=1), 5)
    assert torch.equal(first(clip(2)), again(clip(2)))
    assert not torch.equal(first(clip(2)), other(clip(2)))


def test_motion_token_tells_directions_apart_and_is_silent_in_a_still_scene():
    encoder = MockEncoder(CONFIG, 5)
    right, left, still = (encoder(clip(s)) for s in (2, -2, 0))
    assert torch.equal(right[:, 0], left[:, 0])  # the same middle frame
    assert torch.cosine_similarity(right[:, 1], left[:, 1]).item() < 0
    assert still[:, 1].abs().max() == 0


def test_upstream_defect_15b_train_does_not_wake_the_frozen_encoder():
    encoder = MockEncoder(CONFIG, 5)
    encoder.train()
    assert not encoder.training
    assert not encoder(clip(1)).requires_grad
    assert not encoder.state_dict()
    assert not list(encoder.parameters())
