"""Which steps are worth most: those near a gripper change, and those at which the hand slows down.

Takes all actions of an index, hands on the rows that `data.sampling: keyframe` trains on, always the same
ones. The idea is STAIR's "local state around the contact region"; upstream has only `dense`. The surprise:
an episode in which nothing of the kind happens is kept whole, so that no instruction is lost.
"""

from __future__ import annotations

import numpy as np

NEAR = 4
"""Steps on either side of a gripper change: the inner half of the default clip."""
REACH = 2
"""A slow step is the slowest of this many on either side."""
SLOW = 0.5
"""... and slower than this share of its episode's mean speed."""


def keyframe_rows(actions: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Rows, int64 ascending, of float32 actions [M, 7] in episodes starts [E + 1], none of them empty."""
    episode = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    key = _slowest(np.linalg.norm(actions[:, :3], axis=1), episode, starts)
    is_open = actions[:, 6] > 0.5
    changes = 1 + np.flatnonzero((is_open[1:] != is_open[:-1]) & (episode[1:] == episode[:-1]))
    for shift in range(-NEAR, NEAR + 1):
        rows = np.clip(changes + shift, 0, len(actions) - 1)
        key[rows[episode[rows] == episode[changes]]] = True
    eventful = np.logical_or.reduceat(key, starts[:-1])
    return np.flatnonzero(key | ~eventful[episode])


def _slowest(speed: np.ndarray, episode: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """bool [M]: where the speed is a minimum; the first one of a standstill."""
    means = np.add.reduceat(speed, starts[:-1]) / np.diff(starts)
    slow = speed < SLOW * means[episode]
    for shift in range(1, REACH + 1):
        other = episode[shift:] != episode[:-shift]
        slow[shift:] &= other | (speed[shift:] < speed[:-shift])
        slow[:-shift] &= other | (speed[:-shift] <= speed[shift:])
    return slow
