"""One data set of a mixture, as a run sees it.

Takes an index and the settings of the run, hands on the rows of any sample number: which step of which
episode. The surprise: statistics are taken over the episodes that are trained on, by the held-out corpus too,
so that both normalise alike and nothing is learned of what is held out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stair.data.chunks import gripper_events
from stair.data.config import DataConfig, InputConfig, clip_offsets
from stair.data.frames import open_frames
from stair.data.index import Index
from stair.data.keyframes import keyframe_rows
from stair.data.normalizing import choose_statistics
from stair.data.order import held_out_episodes
from stair.data.standardize import POSE, action_mask_of, pose_of, unwrapped
from stair.data.statistics import compute_moments, compute_statistics
from stair.data.tokens import TokenReader
from stair.errors import UsageError


@dataclass(frozen=True)
class Places:
    """Rows of an index, int64 [B] each."""

    episodes: np.ndarray
    firsts: np.ndarray
    lasts: np.ndarray
    steps: np.ndarray


class Part:
    """One data set of the mixture: its index, and which episodes and steps a corpus sees of it."""

    def __init__(
        self,
        index: Index,
        data: DataConfig,
        inputs: InputConfig,
        *,
        held_out: bool,
        tokens: TokenReader | None = None,
    ) -> None:
        self.index = index
        self.tokens = tokens
        """What the dynamic encoder said of every clip, where a cache is used."""
        self.offsets = clip_offsets(inputs.clip, index.dataset)
        self.relative = action_mask_of(index.dataset)
        self.actions = _refined(index.actions, data)
        """float32 [M, 7], as the index has them but for what `data` wants mended."""
        self.events = gripper_events(self.actions[:, 6], index.starts)
        self.reader = open_frames(index)
        held = held_out_episodes(index.numbers, data.held_out)
        self.chosen = np.flatnonzero(held == held_out)
        """Numbers of the episodes that are seen."""
        for empty, which in ((not len(self.chosen), "held out"), (held.all(), "left to train on")):
            if empty:
                raise UsageError(
                    f"no episode of {index.dataset} is {which}: "
                    f"data.held_out is {data.held_out} of {index.episodes}",
                    hint="a larger or smaller data.held_out",
                )
        trained = np.repeat(~held, np.diff(index.starts)) if held.any() else slice(None)
        proprio = index.proprio[trained]
        own = compute_statistics(self.actions[trained], proprio, self.relative, int((~held).sum()))
        self.statistics = choose_statistics(data, index, own)
        blocks = np.array_split(proprio, 1 + len(proprio) // 100_000)  # angles of millions at once cost much
        poses = np.concatenate([pose_of(index.dataset, block) for block in blocks])
        self.pose = compute_moments(poses, (True,) * POSE)
        """What proprio and waypoints are normalised with; only auxiliary losses see them."""
        self.ends = np.cumsum(np.diff(index.starts)[self.chosen])
        self.rows: np.ndarray | None = None
        """The steps that are samples, where these are not all of the chosen episodes."""
        if data.sampling == "keyframe":
            rows = keyframe_rows(self.actions, index.starts)
            self.rows = rows[np.isin(self._episodes(rows), self.chosen)]
        self.prompts: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return int(self.ends[-1]) if self.rows is None else len(self.rows)

    def places(self, samples: np.ndarray) -> Places:
        """Where sample numbers (int64 [B], below len) lie in the index."""
        starts = self.index.starts
        if self.rows is None:
            nth = np.searchsorted(self.ends, samples, side="right")
            episodes = self.chosen[nth]
            steps = starts[episodes + 1] - (self.ends[nth] - samples)
        else:
            steps = self.rows[samples]
            episodes = self._episodes(steps)
        return Places(episodes, starts[episodes], starts[episodes + 1] - 1, steps)

    def _episodes(self, rows: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.index.starts, rows, side="right") - 1


def _refined(actions: np.ndarray, data: DataConfig) -> np.ndarray:
    if data.unwrap_rotation:
        actions = unwrapped(actions)
    if data.round_gripper:
        rounded = (actions[:, 6:] > 0.5).astype(np.float32)
        actions = np.concatenate([actions[:, :6], rounded], axis=1)
    return actions
