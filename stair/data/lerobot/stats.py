"""Statistics as LeRobot keeps them: of every episode, and of all of them together.

Takes arrays of an episode, hands on trees of min, max, mean, std and count; sums of episodes are exact but
for rounding (Chan et al. 1979). The surprise is images: few are looked at, and a channel's numbers are
nested [[[r]], [[g]], [[b]]] in 0..1, as torch broadcasts them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

LOOKED_AT = 12
"""Pictures of an episode, evenly spaced."""
NAMES = ("min", "max", "mean", "std", "count")


def number_stats(values: np.ndarray) -> dict[str, Any]:
    """Of float or integer [N, width]."""
    exact = values.astype(np.float64)
    return {
        "min": exact.min(0).tolist(),
        "max": exact.max(0).tolist(),
        "mean": exact.mean(0).tolist(),
        "std": exact.std(0).tolist(),
        "count": [len(values)],
    }


def picture_stats(pictures: Sequence[np.ndarray]) -> dict[str, Any]:
    """Of uint8 [H, W, 3] pictures; `count` is how many there are."""
    pixels = np.concatenate([picture.reshape(-1, 3) for picture in pictures])
    flat = number_stats(pixels / 255)
    nested = {name: [[[value]] for value in flat[name]] for name in NAMES[:4]}
    return nested | {"count": [len(pictures)]}


def looked_at(count: int) -> list[int]:
    """Which of an episode's pictures are looked at."""
    return sorted(set(np.linspace(0, count - 1, min(count, LOOKED_AT)).round().astype(int).tolist()))


class Together:
    """Statistics of many episodes, added up one at a time."""

    def __init__(self) -> None:
        self.features: dict[str, dict[str, np.ndarray]] = {}

    def add(self, stats: Mapping[str, Mapping[str, Any]]) -> None:
        """Adds those of one episode, by feature."""
        for name, tree in stats.items():
            new = {key: np.array(value, np.float64) for key, value in tree.items()}
            old = self.features.get(name)
            self.features[name] = new if old is None else _sum(old, new)

    def tree(self) -> dict[str, dict[str, Any]]:
        """The content of meta/stats.json."""
        return {
            name: {key: value.tolist() for key, value in stats.items() if key != "count"}
            | {"count": stats["count"].astype(int).tolist()}
            for name, stats in self.features.items()
        }


def _sum(old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    count = old["count"] + new["count"]
    share = new["count"] / count
    apart = new["mean"] - old["mean"]
    variance = old["std"] ** 2 * (1 - share) + new["std"] ** 2 * share + apart**2 * share * (1 - share)
    return {
        "min": np.minimum(old["min"], new["min"]),
        "max": np.maximum(old["max"], new["max"]),
        "mean": old["mean"] + apart * share,
        "std": np.sqrt(variance),
        "count": count,
    }
