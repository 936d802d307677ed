import numpy as np
import torch

from stair.data.batch import collate, row_of
from stair.data.sample import Sample


def sample(position, tokens, clip=True):
    rng = np.random.default_rng(position)
    return Sample(
        image=rng.integers(0, 255, (3, 8, 8), np.uint8),
        clip=rng.integers(0, 255, (5, 3, 6, 6), np.uint8) if clip else None,
        token_ids=np.arange(1, tokens + 1),
        actions=rng.normal(size=(16, 7)).astype(np.float32),
        action_mask=rng.random(16) < 0.5,
        proprio=rng.normal(size=7).astype(np.float32),
        waypoints=rng.normal(size=(2, 3)).astype(np.float32),
        position=position,
    )


def test_samples_become_a_batch_and_come_out_again():
    samples = [sample(3, 5), sample(9, 8), sample(4, 1)]
    batch = collate(samples, pad_id=7)
    assert len(batch) == 3
    assert batch.token_ids[0].tolist() == [1, 2, 3, 4, 5, 7, 7, 7]
    for row, one in enumerate(samples):
        for name, value in vars(row_of(batch, row)).items():
            np.testing.assert_array_equal(value, getattr(one, name))


def test_shapes_and_types_are_those_that_models_are_promised():
    batch = collate([sample(0, 4), sample(1, 6)], pad_id=0)
    assert batch.images.dtype == torch.uint8
    assert batch.clips is not None
    assert batch.clips.shape == (2, 5, 3, 6, 6)
    assert (batch.token_ids.dtype, batch.token_mask.dtype) == (torch.int64, torch.bool)
    assert (batch.actions.dtype, batch.action_mask.dtype) == (torch.float32, torch.bool)
    assert batch.positions.tolist() == [0, 1]


def test_without_clips_there_is_no_tensor_of_them():
    assert collate([sample(0, 4, clip=False), sample(1, 4, clip=False)], pad_id=0).clips is None
