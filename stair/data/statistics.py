"""What a data set's actions and states look like: the numbers that normalisation needs.

Takes arrays of all transitions, hands on `Statistics`, and reads and writes them in the form of OpenVLA's
dataset_statistics.json. No image is touched. The surprise: a saved model must be used with *its* file;
published runs of the same data set differ slightly in their quantiles. Proprio is OpenVLA's concatenation of
the state keys (eight numbers for Bridge and Fractal), not the pose that our models see; nothing at serving
needs it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stair.errors import StairError
from stair.rundir import write_json

FILE = "dataset_statistics.json"
"""What OpenVLA calls it in a run folder, and so do we."""
NAMES = ("mean", "std", "max", "min", "q01", "q99")


@dataclass(frozen=True)
class Moments:
    """Of one array [M, D], per dimension."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    max: tuple[float, ...]
    min: tuple[float, ...]
    q01: tuple[float, ...]
    """Exact quantiles (`np.quantile`), as OpenVLA computes them."""
    q99: tuple[float, ...]
    mask: tuple[bool, ...]
    """Which dimensions are normalised; the action's gripper is not."""


@dataclass(frozen=True)
class Statistics:
    """Of one data set."""

    action: Moments
    proprio: Moments
    num_transitions: int
    num_trajectories: int

    def to_json(self) -> dict[str, Any]:
        """The value under the data set's name in dataset_statistics.json."""
        return {
            "action": _moments_tree(self.action),
            "proprio": _moments_tree(self.proprio),
            "num_transitions": self.num_transitions,
            "num_trajectories": self.num_trajectories,
        }

    @staticmethod
    def from_json(tree: Mapping[str, Any]) -> Statistics:
        """The inverse; a missing mask means all True. Raises StairError for another form."""
        try:
            return Statistics(
                _read_moments(tree["action"]),
                _read_moments(tree["proprio"]),
                int(tree["num_transitions"]),
                int(tree["num_trajectories"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StairError(
                f"these are no data set statistics: {error!r}",
                hint="expected OpenVLA's dataset_statistics.json",
            ) from None


def compute_moments(values: np.ndarray, mask: tuple[bool, ...]) -> Moments:
    """Of float [M, D], M > 0; computed in float64, one column at a time to stay small."""
    columns = [np.ascontiguousarray(values[:, d], dtype=np.float64) for d in range(values.shape[1])]
    quantiles = [np.quantile(column, (0.01, 0.99)) for column in columns]
    return Moments(
        mean=tuple(float(c.mean()) for c in columns),
        std=tuple(float(c.std()) for c in columns),
        max=tuple(float(c.max()) for c in columns),
        min=tuple(float(c.min()) for c in columns),
        q01=tuple(float(q[0]) for q in quantiles),
        q99=tuple(float(q[1]) for q in quantiles),
        mask=mask,
    )


def compute_statistics(
    actions: np.ndarray, proprio: np.ndarray, action_mask: tuple[bool, ...], num_trajectories: int
) -> Statistics:
    """Statistics of standardised transitions, float32 [M, 7] and [M, S]. Raises StairError when M is 0."""
    if not len(actions):
        raise StairError("no transitions to take statistics of", hint="has the split any described episodes?")
    every = (True,) * proprio.shape[1]
    return Statistics(
        compute_moments(actions, action_mask), compute_moments(proprio, every), len(actions), num_trajectories
    )


def write_statistics(path: Path, statistics: Mapping[str, Statistics]) -> None:
    """Writes dataset_statistics.json, whole. Raises StairError on a full disk or a missing right."""
    write_json(path, {name: value.to_json() for name, value in statistics.items()})


def read_statistics(path: Path) -> dict[str, Statistics]:
    """All data sets of a file, by name. OpenVLA's cache beside a data set (`dataset_statistics_HASH.json`)
    holds one without its name, which then is "". Raises StairError when it is missing or of another form."""
    try:
        tree = json.loads(path.read_text())
    except OSError as error:
        raise StairError(
            f"cannot read the statistics {path}: {error.strerror}",
            hint="a run folder carries its dataset_statistics.json; data.statistics training needs none",
        ) from None
    except ValueError as error:
        raise StairError(f"{path} is no JSON: {error}", hint="fetch or write it again") from None
    if not isinstance(tree, dict):
        raise StairError(
            f"{path} holds no data sets by name", hint="expected OpenVLA's dataset_statistics.json"
        )
    if "num_transitions" in tree:
        tree = {"": tree}
    try:
        return {name: Statistics.from_json(value) for name, value in tree.items()}
    except StairError as error:
        raise StairError(f"{path}: {error.what}", hint=error.hint) from None


def _moments_tree(moments: Moments) -> dict[str, Any]:
    return {name: list(getattr(moments, name)) for name in (*NAMES, "mask")}


def _read_moments(tree: Mapping[str, Any]) -> Moments:
    values = {name: tuple(float(v) for v in tree[name]) for name in NAMES}
    mask = tuple(bool(v) for v in tree.get("mask", (True,) * len(values["mean"])))
    if {len(v) for v in values.values()} != {len(mask)}:
        raise ValueError("fields of different lengths")
    return Moments(**values, mask=mask)
