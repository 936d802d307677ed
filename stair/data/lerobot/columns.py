"""Which columns of a LeRobot data set are the seven numbers of an action and of a state.

Takes a LeRobotFolder and `data.lerobot`, hands on `Columns`; a pure decision on names. Names come from the
configuration, else from meta/modality.json, else from meta/info.json, else from a table for the two
editions that everybody has. The surprise: nothing is converted but quaternions and an inverted gripper;
actions must be relative motions already, as the editions of Open X-Embodiment are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stair.data.config import LeRobotConfig
from stair.data.lerobot.folder import LeRobotFolder
from stair.data.standardize import STANDARDS, pose_of_quaternion
from stair.errors import UsageError

STATE, ACTION = "observation.state", "action"
EULER = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
QUATERNION = ("x", "y", "z", "rx", "ry", "rz", "rw", "gripper")
PADDED = ("x", "y", "z", "roll", "pitch", "yaw", "pad", "gripper")
EDITIONS = {"bridge_orig": PADDED, "fractal20220817_data": QUATERNION}
"""Columns of `observation.state` in the OXE editions (IPEC-COMMUNITY); actions are EULER in both."""
PLACE = re.compile(r"(?P<feature>.+)\[(?P<number>\d+)\]")


@dataclass(frozen=True)
class Pick:
    """One number of a row."""

    feature: str
    number: int
    inverted: bool = False
    """Taken as 1 - value."""


@dataclass(frozen=True)
class Columns:
    """What is read of a data set."""

    camera: str
    action: tuple[Pick, ...]
    """Seven."""
    state: tuple[Pick, ...]
    """Seven; eight for the editions of EDITIONS, or where angles are a quaternion."""
    turned: bool
    """The state has a quaternion, which `proprio` makes angles of."""

    @property
    def features(self) -> tuple[str, ...]:
        """The features to read."""
        return tuple(dict.fromkeys(pick.feature for pick in (*self.action, *self.state)))

    def actions(self, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32 [N, 7] of float32 [N, width] by feature."""
        return _taken(self.action, rows)

    def proprio(self, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32 [N, S]: a pose of xyz, roll pitch yaw, gripper; or the eight numbers of Bridge and Fractal
        as their standards know them."""
        states = _taken(self.state, rows)
        if not self.turned:
            return states
        closed = np.concatenate([states[:, :7], 1 - states[:, 7:]], axis=1)
        return pose_of_quaternion(closed)


def decide_columns(folder: LeRobotFolder, dataset: str, config: LeRobotConfig) -> Columns:
    """Raises UsageError naming what there is when a camera, a state or an action cannot be told."""
    edition = dataset in EDITIONS
    forms = (EDITIONS[dataset], EULER) if edition else (EULER, QUATERNION)
    state = _picks(folder, STATE, config.state, "state", forms, forms[:1] if edition else ())
    return Columns(
        camera=_camera(folder, dataset, config.image),
        action=_picks(folder, ACTION, config.action, "action", (EULER,), (EULER,) if edition else ()),
        state=state,
        turned=not edition and len(state) == len(QUATERNION),
    )


def _camera(folder: LeRobotFolder, dataset: str, asked: str) -> str:
    cameras = list(folder.cameras)
    shown = ", ".join(cameras) or "none"
    if asked:
        if asked not in cameras:
            raise UsageError(f"{folder.folder} has no camera '{asked}'", hint=f"data.lerobot.image: {shown}")
        return asked
    videos = folder.modality.get("video", {})
    primary = STANDARDS[dataset].image.rpartition("/")[2] if dataset in STANDARDS else ""
    # The data set's primary camera; the first that modality.json lists; the only one.
    likely = [f"observation.images.{primary}", *(_original(videos[name]) for name in list(videos)[:1])]
    for camera in [*likely, *(cameras if len(cameras) == 1 else ())]:
        if camera in cameras:
            return camera
    raise UsageError(
        f"{folder.folder} has {len(cameras)} cameras: {shown}", hint="data.lerobot.image, one of them"
    )


def _original(entry: Any) -> str:
    return str(entry.get("original_key", "")) if isinstance(entry, Mapping) else ""


def _picks(
    folder: LeRobotFolder,
    feature: str,
    asked: Sequence[str],
    what: str,
    forms: Sequence[tuple[str, ...]],
    unnamed: Sequence[tuple[str, ...]],
) -> tuple[Pick, ...]:
    """The numbers of an action or a state, in the order of one of the `forms`. `unnamed` are the layouts
    that a feature without names may be taken to have, by its width."""
    known = _known(folder, feature, what)
    if asked:
        picks = tuple(_asked(folder, word, known, what) for word in asked)
        if len(picks) not in {len(form) for form in forms}:
            widths = " or ".join(str(len(form)) for form in forms)
            raise UsageError(f"data.lerobot.{what} names {len(picks)} numbers", hint=f"{widths} are expected")
        return picks
    for names in (known, *(_layout(folder, feature, layout) for layout in unnamed)):
        for form in forms:
            if all(name in names for name in form):
                return tuple(names[name] for name in form)
    raise UsageError(
        f"{folder.folder}: cannot tell what {feature} means; its numbers are {', '.join(known) or 'unnamed'}",
        hint=f"data.lerobot.{what}, e.g. [{', '.join(f'{feature}[{n}]' for n in range(2))}, ...]: "
        + " or ".join(" ".join(form) for form in forms),
    )


def _known(folder: LeRobotFolder, feature: str, what: str) -> dict[str, Pick]:
    """Numbers by name: of meta/modality.json where it speaks of them, else of meta/info.json."""
    entries = folder.modality.get(what)
    if entries:
        named: dict[str, Pick] = {}
        for name, entry in entries.items():
            first, end = int(entry["start"]), int(entry["end"])
            place = entry.get("original_key") or feature
            for number in range(first, end):
                named[name if end == first + 1 else f"{name}[{number - first}]"] = Pick(place, number)
        return named
    names = folder.features.get(feature, {}).get("names")
    if isinstance(names, Mapping):  # {"motors": [...]}
        names = [name for group in names.values() if isinstance(group, list) for name in group]
    return {str(name): Pick(feature, number) for number, name in enumerate(names or [])}


def _layout(folder: LeRobotFolder, feature: str, layout: Sequence[str]) -> dict[str, Pick]:
    if _width(folder, feature) != len(layout):
        return {}
    return {name: Pick(feature, number) for number, name in enumerate(layout)}


def _width(folder: LeRobotFolder, feature: str) -> int:
    shape = folder.features.get(feature, {}).get("shape") or [0]
    return int(shape[0])


def _asked(folder: LeRobotFolder, word: str, known: Mapping[str, Pick], what: str) -> Pick:
    inverted = word.startswith("1-")
    name = word[2:] if inverted else word
    if name in known:
        return Pick(known[name].feature, known[name].number, inverted)
    place = PLACE.fullmatch(name)
    if place and int(place["number"]) < _width(folder, place["feature"]):
        return Pick(place["feature"], int(place["number"]), inverted)
    features = [f"{f}[0..{_width(folder, f) - 1}]" for f in folder.features if _width(folder, f)]
    raise UsageError(
        f"data.lerobot.{what}: {folder.folder} has no '{name}'",
        hint=f"one of {', '.join([*known, *features])}",
    )


def _taken(picks: Sequence[Pick], rows: Mapping[str, np.ndarray]) -> np.ndarray:
    columns = [rows[pick.feature][:, pick.number] for pick in picks]
    turned = [1 - column if pick.inverted else column for pick, column in zip(picks, columns, strict=True)]
    return np.stack(turned, axis=1).astype(np.float32)
