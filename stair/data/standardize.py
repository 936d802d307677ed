"""Raw episodes of one data set become standardised ones: the same physical meaning for all.

Takes a RawEpisode, hands on a Standardized: actions (dxyz m, drpy rad, gripper 1 = open), proprio, words,
and which raw steps are kept. Every data set is one row of STANDARDS. Two surprises. Bridge's recorded actions
are not used but derived from the states, and so the first and the last step of N fall away. And proprio is
kept as OpenVLA publishes it, eight numbers for Bridge and Fractal, because its statistics are; what a model
is fed, a pose of seven, is `Standard.pose` of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stair.errors import StairError, unknown

if TYPE_CHECKING:
    from stair.data.rlds import RawEpisode

ACTION_MASK = (True,) * 6 + (False,)
"""Six relative motions, which are normalised, and the gripper, which is neither relative nor normalised."""
POSE = 7
"""Numbers of a pose: xyz m, rpy rad, gripper (1 = open)."""


@dataclass(frozen=True)
class Standardized:
    """What is kept of a raw episode of T steps: steps first ... first + N - 1."""

    actions: np.ndarray
    """float32 [N, 7]"""
    proprio: np.ndarray
    """float32 [N, S], before the action of the same step; OpenVLA's concatenation of the state keys"""
    first: int
    """Raw step that became step 0."""
    instruction: str
    """Empty when nobody described the episode."""


def pose_of_euler(proprio: np.ndarray) -> np.ndarray:
    """Pose [..., 7] of Bridge's proprio [..., 8]: xyz, rpy, a padding of OpenVLA's, gripper."""
    return np.concatenate([proprio[..., :6], proprio[..., 7:]], axis=-1)


def pose_of_quaternion(proprio: np.ndarray) -> np.ndarray:
    """Pose [..., 7] of Fractal's proprio [..., 8]: xyz, quaternion x y z w, closedness of the gripper.

    Roll, pitch and yaw turn about the fixed axes x, y, z in this order, as Bridge's do; the gripper becomes
    1 - closedness, so that 1 is open everywhere.
    """
    x, y, z, w = np.moveaxis(
        proprio[..., 3:7] / np.maximum(np.linalg.norm(proprio[..., 3:7], axis=-1, keepdims=True), 1e-8), -1, 0
    )
    roll = np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))
    pitch = np.arcsin(np.clip(2 * (w * y - z * x), -1, 1))
    yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    angles = np.stack([roll, pitch, yaw], axis=-1)
    return np.concatenate([proprio[..., :3], angles, 1 - proprio[..., 7:]], axis=-1).astype(np.float32)


@dataclass(frozen=True)
class Standard:
    """How one data set is read."""

    version: str
    """Folder below the data set's name."""
    image: str
    """Key of the primary camera's encoded images, below `steps/`."""
    apply: Callable[[RawEpisode], Standardized]
    pose: Callable[[np.ndarray], np.ndarray] | None = None
    """proprio [..., S] → what models see of it, float32 [..., 7]; None where it is that already"""
    action_mask: tuple[bool, ...] = ACTION_MASK
    """Which action dimensions are relative motions and normalised."""


def binarize_gripper(raw: np.ndarray) -> np.ndarray:
    """Openings in 0..1, float [T], as decided values: above 0.95 is open (1), below 0.05 closed (0), and
    what lies between copies the next decided value (OpenVLA). After the last decided value stands the raw
    last one, which may be neither 0 nor 1; `data.round_gripper` mends that."""
    decided = (raw > 0.95) | (raw < 0.05)
    last = len(raw) - 1
    # For each step the nearest decided step at or after it, or the last step.
    source = np.minimum.accumulate(np.where(decided, np.arange(len(raw)), last)[::-1])[::-1]
    values = np.where(decided, (raw > 0.95).astype(np.float32), raw).astype(np.float32)
    return values[source]


def absolute_gripper(closing: np.ndarray) -> np.ndarray:
    """Commands to move, float [T] (above 0.1 closes, below -0.1 opens, else stay), as states float32 [T]:
    1 open, 0 closed (OpenVLA's `rel2abs_gripper_actions`). The last command stands until the next; before the
    first one the gripper was the other way, and open when there is none."""
    commands = np.where(closing < -0.1, 1.0, np.where(closing > 0.1, 0.0, np.nan)).astype(np.float32)
    told = ~np.isnan(commands)
    if not told.any():
        return np.ones(len(closing), np.float32)
    first = int(np.argmax(told))
    source = np.maximum.accumulate(np.where(told, np.arange(len(closing)), first))
    states = commands[source]
    states[:first] = 1 - commands[first]
    return states


def bridge(raw: RawEpisode) -> Standardized:
    """BridgeV2 as OpenVLA reads it (oxe/transforms.py, `bridge_orig_dataset_transform`): drop step 0,
    binarise the gripper, action[t, :6] = state[t+1, :6] - state[t, :6], drop the last step: N - 2 remain.
    Euler angles are not unwrapped, as in the published statistics; `data.unwrap_rotation` mends that."""
    state = raw.floats("steps/observation/state", 7)[1:]
    recorded = raw.floats("steps/action", 7)[1:]
    words = _instruction(raw, "steps/language_instruction")
    if len(state) < 2:
        return Standardized(np.empty((0, 7), np.float32), np.empty((0, 8), np.float32), 1, words)
    actions = np.empty((len(state) - 1, 7), np.float32)
    actions[:, :6] = state[1:, :6] - state[:-1, :6]
    actions[:, 6] = binarize_gripper(recorded[:, 6])[:-1]
    padding = np.zeros((len(actions), 1), np.float32)
    proprio = np.concatenate([state[:-1, :6], padding, state[:-1, 6:]], axis=1).astype(np.float32)
    return Standardized(actions, proprio, 1, words)


def fractal(raw: RawEpisode) -> Standardized:
    """RT-1's Fractal data as OpenVLA reads it (oxe/transforms.py, `rt1_dataset_transform`): world vector,
    rotation delta, and the gripper's commands as its states. Every step is kept."""
    parts = [raw.floats("steps/action/world_vector", 3), raw.floats("steps/action/rotation_delta", 3)]
    gripper = absolute_gripper(raw.floats("steps/action/gripper_closedness_action", 1)[:, 0])
    actions = np.concatenate([*parts, gripper[:, None]], axis=1).astype(np.float32)
    pose = raw.floats("steps/observation/base_pose_tool_reached", 7)
    closed = raw.floats("steps/observation/gripper_closed", 1)
    words = _instruction(raw, "steps/observation/natural_language_instruction")
    return Standardized(actions, np.concatenate([pose, closed], axis=1).astype(np.float32), 0, words)


def plain(raw: RawEpisode) -> Standardized:
    """Actions and states as they were recorded, which is how our own simulator writes them."""
    actions = raw.floats("steps/action", 7).astype(np.float32)
    proprio = raw.floats("steps/observation/state", 7).astype(np.float32)
    return Standardized(actions, proprio, 0, _instruction(raw, "steps/language_instruction"))


STANDARDISED = "standardised"
"""What `episode_metadata/standard` reads in RLDS editions of LeRobot data sets (tools/convert-dataset)."""


def standardize(raw: RawEpisode, standard: Standard) -> Standardized:
    """By the row of its data set; or as written, when the episode itself says that it is standardised: to
    derive Bridge's actions a second time would lose two steps more. Raises StairError."""
    said = raw.values.get("episode_metadata/standard")
    if said is None:
        return standard.apply(raw)
    if (word := bytes(raw.spans("episode_metadata/standard")[0]).decode("utf-8", "replace")) != STANDARDISED:
        raise StairError(f"episode_metadata/standard is '{word}'", hint=f"'{STANDARDISED}', or none at all")
    actions = raw.floats("steps/action", 7)
    proprio = raw.floats("steps/observation/state", 1).reshape(len(actions), -1)
    words = _instruction(raw, "steps/language_instruction")
    return Standardized(actions.astype(np.float32), proprio.astype(np.float32), 0, words)


def _instruction(raw: RawEpisode, key: str) -> str:
    """The first step's words that are not empty (an episode is unlabelled when all are)."""
    for words in raw.spans(key):
        if text := words.decode("utf-8", "replace").strip():
            return spoken(text)
    return ""


def spoken(text: str) -> str:
    """An instruction that may be one. Raises StairError for the text of a byte string, `b'pick up'`, which
    Python 2's ways of turning bytes into text leave behind; a model would learn its marks."""
    if re.fullmatch(r"[bB](['\"]).*\1", text, re.DOTALL):
        raise StairError(
            f"the instruction reads {text[:60]}: a byte string as Python prints it, not its words",
            hint="write the data set again with .decode(), or data.skip_corrupt true to leave it out",
        )
    return text


def refuse_infinite(actions: np.ndarray, proprio: np.ndarray) -> None:
    """Raises StairError naming the first number of an episode that is NaN or infinite."""
    for name, values in (("action", actions), ("proprio", proprio)):
        if not np.isfinite(values).all():
            step, dim = np.argwhere(~np.isfinite(values))[0].tolist()
            raise StairError(
                f"{name} {dim} of step {step} is {values[step, dim]}, a finite number is expected",
                hint="data.skip_corrupt true to leave such episodes out, or write the data set again",
            )


def unwrapped(actions: np.ndarray) -> np.ndarray:
    """Actions float32 [M, 7] whose rotations are taken the short way round, within ±pi. Differences of Euler
    angles jump by 2 pi where an angle passes ±pi; motions that did not jump stay as they are to the bit."""
    turns = np.rint(actions[:, 3:6] / (2 * np.pi))
    if not turns.any():
        return actions
    changed = actions.copy()
    changed[:, 3:6] -= (2 * np.pi * turns).astype(np.float32)
    return changed


STANDARDS: dict[str, Standard] = {
    "bridge_orig": Standard("1.0.0", "observation/image_0", bridge, pose_of_euler),
    "fractal20220817_data": Standard("0.1.0", "observation/image", fractal, pose_of_quaternion),
    "tabletop": Standard("1.0.0", "observation/image_0", plain),
}


def standard_of(dataset: str) -> Standard:
    """The row of a data set. Raises UsageError for a name that nobody knows."""
    if dataset not in STANDARDS:
        raise unknown("data set", dataset, STANDARDS)
    return STANDARDS[dataset]


def action_mask_of(dataset: str) -> tuple[bool, ...]:
    """Which of a data set's action dimensions are relative; for one without a row, all but the gripper."""
    return STANDARDS[dataset].action_mask if dataset in STANDARDS else ACTION_MASK


def pose_of(dataset: str, proprio: np.ndarray) -> np.ndarray:
    """What models see of a data set's proprio float32 [..., S]: a pose float32 [..., 7]. Seven numbers are
    one already, whatever edition of the data set they come from."""
    pose = None if proprio.shape[-1] == POSE else standard_of(dataset).pose
    if pose is None:
        return proprio
    return pose(proprio)


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
