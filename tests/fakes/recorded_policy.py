"""A policy that has only pictures: it does what was done in the most similar one of a recording.

python tests/fakes/recorded_policy.py ADDRESS_FILE RECORDING.npz|nothing

Serves with stair.serve's server, without any access to the simulator. `nothing` keeps the hand still.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from stair import console
from stair.policy.contract import ActionConvention, PolicySpec, Query
from stair.serve.config import ServeConfig
from stair.serve.server import run_server

CHUNK = 8
STILL = np.array([0, 0, 0, 0, 0, 0, 1], np.float32)


def thumbnail(image: np.ndarray) -> np.ndarray:
    """uint8 [60, 80, 3] of a camera's [480, 640, 3]: means of 8 x 8 pixels."""
    return image.reshape(60, 8, 80, 8, 3).mean((1, 3)).round().astype(np.uint8)


class RecordedPolicy:
    """Stateless: every query is answered from its image alone."""

    def __init__(self, frames: np.ndarray, actions: np.ndarray, episode: np.ndarray, name: str) -> None:
        """uint8 [n, 60, 80, 3], float32 [n, 7], int [n]; n may be 0."""
        self._frames = frames.reshape(len(frames), 60 * 80 * 3).astype(np.int16)
        self._actions, self._episode = actions, episode
        self.spec = PolicySpec(
            name=name,
            chunk=CHUNK,
            image_size=480,
            unnorm_keys=("bridge_orig", "maniskill_panda"),
            conventions={
                "bridge_orig": ActionConvention(),
                "maniskill_panda": ActionConvention(control_hz=20.0),
            },
        )

    def act_batch(self, queries: list[Query]) -> np.ndarray:
        """float32 [n, 8, 7]"""
        return np.stack([self._act(query.image) for query in queries])

    def _act(self, image: np.ndarray) -> np.ndarray:
        chunk = np.tile(STILL, (CHUNK, 1))
        if len(self._frames):
            apart = np.abs(self._frames - thumbnail(image).reshape(-1).astype(np.int16)).sum(
                1, dtype=np.int64
            )
            nearest = len(apart) - 1 - int(np.argmin(apart[::-1]))  # of equal ones the last: time goes on
            after = slice(nearest, nearest + CHUNK)
            same = self._actions[after][self._episode[after] == self._episode[nearest]]
            chunk[: len(same)] = same
        return chunk


def main() -> None:
    address_file, recording = sys.argv[1:]
    if recording == "nothing":
        empty = np.zeros((0, 60, 80, 3), np.uint8), np.zeros((0, 7), np.float32), np.zeros(0, int)
        policy = RecordedPolicy(*empty, name="nothing")
    else:
        with np.load(recording) as held:
            policy = RecordedPolicy(
                held["frames"], held["actions"], held["episode"], name=Path(recording).stem
            )
    run_server(lambda: policy, ServeConfig(port=0, address_file=address_file))


if __name__ == "__main__":
    sys.exit(console.run_command(main))
