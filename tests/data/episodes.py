"""Small written episodes for this room's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stair.data.rlds_features import manipulation_features
from stair.data.rlds_writer import RldsWriter


def make_steps(
    length: int, seed: int, *, size: int = 24, words: str = "Put the red block on the plate"
) -> list:
    """Steps with random numbers, a gripper that closes and opens, and smooth pictures."""
    rng = np.random.default_rng(seed)
    gripper = (np.arange(length) // max(1, length // 3)) % 2 == 0
    steps = []
    for t in range(length):
        picture = np.kron(rng.integers(0, 255, (4, 4, 3)), np.ones((size // 4, size // 4, 1)))
        steps.append(
            {
                "observation": {
                    "image_0": picture.astype(np.uint8),
                    "state": rng.normal(size=7).astype(np.float32),
                },
                "action": np.append(rng.normal(size=6), gripper[t]).astype(np.float32),
                "language_instruction": words,
                "reward": float(t == length - 1),
                "discount": 1.0,
                "is_first": t == 0,
                "is_last": t == length - 1,
                "is_terminal": t == length - 1,
            }
        )
    return steps


LENGTHS = (9, 23, 1, 30, 17, 12, 26, 5)


def write_tabletop(root: Path, lengths=LENGTHS, *, shards: int = 2, **how) -> Path:
    """ROOT/tabletop/1.0.0 with an episode of each length; instructions differ in length."""
    folder = root / "tabletop" / "1.0.0"
    features = manipulation_features(24, 24)
    with RldsWriter(
        folder, name="tabletop", features=features, split_shards={"train": shards}, **how
    ) as writer:
        for number, length in enumerate(lengths):
            words = "Put the red block on the plate" + " now" * (number % 3)
            steps = make_steps(length, number, words=words)
            writer.add("train", steps, {"episode_id": number, "file_path": f"seed {number}"})
    return folder
