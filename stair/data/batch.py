"""Samples side by side become a Batch, and a Batch becomes samples again.

Takes numpy, hands on torch tensors without copying where it can.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from stair.data.language import pad_prompts
from stair.data.sample import Batch, Sample


def collate(samples: Sequence[Sample], pad_id: int) -> Batch:
    """A Batch of samples that were made one by one; clips only when every sample has one."""
    token_ids, token_mask = pad_prompts([s.token_ids for s in samples], pad_id)
    clips = [s.clip for s in samples if s.clip is not None]
    tokens = [s.dynamic_tokens for s in samples if s.dynamic_tokens is not None]
    return Batch(
        images=_stacked([s.image for s in samples]),
        clips=_stacked(clips) if len(clips) == len(samples) else None,
        token_ids=torch.from_numpy(token_ids),
        token_mask=torch.from_numpy(token_mask),
        actions=_stacked([s.actions for s in samples]),
        action_mask=_stacked([s.action_mask for s in samples]),
        proprio=_stacked([s.proprio for s in samples]),
        waypoints=_stacked([s.waypoints for s in samples]),
        positions=torch.tensor([s.position for s in samples]),
        dynamic_tokens=_stacked(tokens) if len(tokens) == len(samples) else None,
    )


def row_of(batch: Batch, row: int) -> Sample:
    """One sample of a batch, its prompt without padding."""
    return Sample(
        image=batch.images[row].numpy(),
        clip=None if batch.clips is None else batch.clips[row].numpy(),
        token_ids=batch.token_ids[row][batch.token_mask[row]].numpy(),
        actions=batch.actions[row].numpy(),
        action_mask=batch.action_mask[row].numpy(),
        proprio=batch.proprio[row].numpy(),
        waypoints=batch.waypoints[row].numpy(),
        position=int(batch.positions[row]),
        dynamic_tokens=None if batch.dynamic_tokens is None else batch.dynamic_tokens[row].numpy(),
    )


def _stacked(arrays: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays))
