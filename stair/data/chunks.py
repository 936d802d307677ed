"""Rows of an index become action chunks, clips and waypoints; all of it arithmetic on row numbers.

Takes steps as rows of an Index, with the first and last row of their episodes, hands on physical arrays or
further rows, for a whole batch at once. The surprise is the end of an episode: a chunk goes on beyond it
with no motion and the last gripper command, and its mask says which of its steps really happened.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

WAYPOINTS = 2


def take_chunks(
    actions: np.ndarray, steps: np.ndarray, lasts: np.ndarray, chunk: int, relative: Sequence[bool]
) -> tuple[np.ndarray, np.ndarray]:
    """The `chunk` actions from each step on, physical float32 [B, K, 7], and bool [B, K], True on steps
    of the episode. Beyond its last step `relative` dimensions are 0 and the others repeat (WoG's
    traj_transforms; normalised later, so that a zero action is what the model learns there)."""
    rows = steps[:, None] + np.arange(chunk)
    mask = rows <= lasts[:, None]
    taken = actions[np.minimum(rows, lasts[:, None])]
    taken[~mask[:, :, None] & np.array(relative, bool)] = 0.0
    return taken, mask


def clip_rows(steps: np.ndarray, firsts: np.ndarray, lasts: np.ndarray, offsets: Sequence[int]) -> np.ndarray:
    """Rows of a clip's frames, int64 [B, T]; beyond the episode its first or last frame repeats."""
    rows = steps[:, None] + np.array(offsets, np.int64)
    return np.clip(rows, firsts[:, None], lasts[:, None])


def gripper_events(gripper: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows, int64 ascending, whose action closes the gripper, and rows whose action opens it.

    gripper: float [M], 1 = open; starts: int64 [E + 1]. A row is an event when the row before, of the same
    episode, commanded otherwise.
    """
    is_open = gripper > 0.5
    changes = np.flatnonzero(is_open[1:] != is_open[:-1]) + 1
    changes = changes[~np.isin(changes, starts)]
    return changes[~is_open[changes]], changes[is_open[changes]]


def waypoint_rows(events: Sequence[np.ndarray], steps: np.ndarray, lasts: np.ndarray) -> np.ndarray:
    """Rows of the next closing and the next opening from each step on, int64 [B, 2]; -1 where the episode
    has none any more."""
    found = np.full((len(steps), WAYPOINTS), -1, np.int64)
    for kind, rows in enumerate(events):
        nth = np.searchsorted(rows, steps, side="left")
        ahead = np.append(rows, np.iinfo(np.int64).max)[nth]
        found[:, kind] = np.where(ahead <= lasts, ahead, -1)
    return found
