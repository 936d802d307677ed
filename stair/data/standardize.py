"""Raw episodes of one data set become standardised ones: the same physical meaning for all.

Takes a RawEpisode, hands on a Standardized: actions (dxyz m, drpy rad, gripper 1 = open), proprio, words,
and which raw steps are kept. Every data set is one row of STANDARDS. The surprise is Bridge: its recorded
actions are not used but derived from the states, and so the first and the last step of N fall away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stair.data.rlds import RawEpisode
from stair.errors import StairError, unknown


@dataclass(frozen=True)
class Standardized:
    """What is kept of a raw episode of T steps: steps first ... first + N - 1."""

    actions: np.ndarray
    """float32 [N, 7]"""
    proprio: np.ndarray
    """float32 [N, 7], before the action of the same step"""
    first: int
    """Raw step that became step 0."""
    instruction: str
    """Empty when nobody described the episode."""


@dataclass(frozen=True)
class Standard:
    """How one data set is read."""

    version: str
    """Folder below the data set's name."""
    image: str
    """Key of the primary camera's encoded images, below `steps/`."""
    apply: Callable[[RawEpisode], Standardized]
    action_mask: tuple[bool, ...] = (True,) * 6 + (False,)
    """Which action dimensions are relative motions and normalised; the gripper is neither."""


def binarize_gripper(raw: np.ndarray) -> np.ndarray:
    """Openings in 0..1, float [T], as decided values: above 0.95 is open (1), below 0.05 closed (0), and
    what lies between copies the next decided value (OpenVLA). After the last decided value stands the raw
    last one, which may be neither 0 nor 1."""
    decided = (raw > 0.95) | (raw < 0.05)
    last = len(raw) - 1
    # For each step the nearest decided step at or after it, or the last step.
    source = np.minimum.accumulate(np.where(decided, np.arange(len(raw)), last)[::-1])[::-1]
    values = np.where(decided, (raw > 0.95).astype(np.float32), raw).astype(np.float32)
    return values[source]


def bridge(raw: RawEpisode) -> Standardized:
    """BridgeV2 as OpenVLA reads it (oxe/transforms.py, `bridge_orig_dataset_transform`): drop step 0,
    binarise the gripper, action[t, :6] = state[t+1, :6] - state[t, :6], drop the last step: N - 2 remain.
    Euler angles are not unwrapped, as in the published statistics."""
    state = raw.floats("steps/observation/state", 7)[1:]
    recorded = raw.floats("steps/action", 7)[1:]
    words = _instruction(raw, "steps/language_instruction")
    if len(state) < 2:
        return Standardized(np.empty((0, 7), np.float32), np.empty((0, 7), np.float32), 1, words)
    actions = np.empty((len(state) - 1, 7), np.float32)
    actions[:, :6] = state[1:, :6] - state[:-1, :6]
    actions[:, 6] = binarize_gripper(recorded[:, 6])[:-1]
    return Standardized(actions, state[:-1].astype(np.float32), 1, words)


def plain(raw: RawEpisode) -> Standardized:
    """Actions and states as they were recorded, which is how our own simulator writes them."""
    actions = raw.floats("steps/action", 7).astype(np.float32)
    proprio = raw.floats("steps/observation/state", 7).astype(np.float32)
    return Standardized(actions, proprio, 0, _instruction(raw, "steps/language_instruction"))


def _not_yet(raw: RawEpisode) -> Standardized:
    raise StairError("fractal20220817_data cannot be standardised yet", hint="data.mixture bridge_orig")


def _instruction(raw: RawEpisode, key: str) -> str:
    """The first step's words that are not empty (an episode is unlabelled when all are)."""
    for words in raw.spans(key):
        if text := words.decode("utf-8", "replace").strip():
            return text
    return ""


STANDARDS: dict[str, Standard] = {
    "bridge_orig": Standard("1.0.0", "observation/image_0", bridge),
    "fractal20220817_data": Standard("0.1.0", "observation/image", _not_yet),
    "tabletop": Standard("1.0.0", "observation/image_0", plain),
}


def standard_of(dataset: str) -> Standard:
    """The row of a data set. Raises UsageError for a name that nobody knows."""
    if dataset not in STANDARDS:
        raise unknown("data set", dataset, STANDARDS)
    return STANDARDS[dataset]


def dataset_folder(root: Path | str, dataset: str) -> Path:
    """ROOT/DATASET/VERSION. Raises StairError saying what is there instead when it is missing."""
    root, version = Path(root), standard_of(dataset).version
    folder = root / dataset / version
    if folder.is_dir():
        return folder
    for place in (root / dataset, root):
        if place.is_dir():
            found = sorted(entry.name for entry in place.iterdir() if entry.is_dir())[:12]
            there = f"{place} holds {', '.join(found) or 'no folders'}"
            break
    else:
        there = f"there is no folder {root.absolute()}"
    renamed = " (bridge_dataset of BridgeV2 is to be renamed)" if dataset == "bridge_orig" else ""
    raise StairError(
        f"no data set at {folder}: {there}",
        hint=f"data.root, the folder that holds {dataset}/{version}{renamed}",
    )
