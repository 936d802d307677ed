"""The values of the data line: Episode → Sample → Batch.

An Episode is standardised (actions and proprio in physical units, images still encoded on disk), a
Sample is one time step ready for a model (normalised, decoded), a Batch is many of them as tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Episode:
    """One standardised episode of N transitions; `frames` says where each step's image lies."""

    dataset: str
    key: str
    """Names the episode in errors and records, e.g. `train-00000#17`."""
    actions: np.ndarray
    """float32 [N, 7]: dxyz in metres, drpy in radians, gripper 1 = open."""
    proprio: np.ndarray
    """float32 [N, S]: where the end effector is before the action of the same step, in the data set's own
    form; `standardize.pose_of` makes xyz, rpy, gripper of it."""
    instruction: str
    frames: np.ndarray
    """int64 [N, 3]: shard number, byte offset and length of the encoded image of each step."""


@dataclass(frozen=True)
class Sample:
    """One time step as a model sees it, in numpy."""

    image: np.ndarray
    """uint8 [3, S, S]: the present camera image."""
    clip: np.ndarray | None
    """uint8 [T, 3, C, C]: frames around the present step, or None when nobody asked."""
    token_ids: np.ndarray
    """int64 [L]: the prompt, unpadded."""
    actions: np.ndarray
    """float32 [K, 7]: normalised chunk, see data/transforms.py."""
    action_mask: np.ndarray
    """bool [K]: False where the chunk reaches beyond the episode."""
    proprio: np.ndarray
    """float32 [7]: normalised state."""
    waypoints: np.ndarray
    """float32 [2, 3]: normalised positions at the next closing and the next opening of the gripper; NaN
    where the episode has none any more."""
    position: int
    """Place in the run's global order, which also seeds the sample's augmentation."""
    dynamic_tokens: np.ndarray | None = None
    """float32 [D, W]: what the dynamic encoder said of the clip, from a cache, in place of `clip`."""


@dataclass
class Batch:
    """Samples side by side, as tensors (prompts right-padded)."""

    images: torch.Tensor
    """uint8 [B, 3, S, S]"""
    clips: torch.Tensor | None
    """uint8 [B, T, 3, C, C]"""
    token_ids: torch.Tensor
    """int64 [B, L]"""
    token_mask: torch.Tensor
    """bool [B, L], True on real tokens"""
    actions: torch.Tensor
    """float32 [B, K, 7]"""
    action_mask: torch.Tensor
    """bool [B, K]"""
    proprio: torch.Tensor
    """float32 [B, 7]"""
    waypoints: torch.Tensor
    """float32 [B, 2, 3], NaN where there is none"""
    positions: torch.Tensor
    """int64 [B]"""
    dynamic_tokens: torch.Tensor | None = None
    """float32 [B, D, W]: what the dynamic encoder said of the clips, from a cache, in place of `clips`"""

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        moved: dict[str, Any] = {
            field.name: None
            if (value := getattr(self, field.name)) is None
            else value.to(device, non_blocking=True)
            for field in fields(self)
        }
        return Batch(**moved)

    def __len__(self) -> int:
        return len(self.images)
