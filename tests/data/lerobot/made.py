"""The same small episodes as RLDS and as LeRobot folders, for this room's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from stair.data.rlds_features import manipulation_features
from stair.data.rlds_writer import RldsWriter
from tests.data.episodes import make_steps
from tools.editions.to_lerobot import convert

LENGTHS = (9, 23, 1, 12, 5)
SIZE = 64


def smooth_pictures(length: int, seed: int, size: int = SIZE) -> list[np.ndarray]:
    """A soft pattern that moves three pixels a step: codecs like it, and no two frames are alike."""
    coarse = np.random.default_rng(seed).integers(0, 255, (5, 5, 3), np.uint8)
    scene = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))
    return [np.roll(scene, 3 * t, axis=1).copy() for t in range(length)]


def write_rlds(
    root: Path, *, words=("pick up the spoon", "", "close the drawer"), dataset="tabletop"
) -> Path:
    """ROOT/DATASET/1.0.0 with an episode of each length, in two shards; every third has no words."""
    folder = root / dataset / "1.0.0"
    features = manipulation_features(SIZE, SIZE)
    with RldsWriter(folder, name=dataset, features=features, split_shards={"train": 2}) as writer:
        for number, length in enumerate(LENGTHS):
            steps = make_steps(length, number, words=words[number % len(words)])
            for step, picture in zip(steps, smooth_pictures(length, number), strict=True):
                step["observation"]["image_0"] = picture
            writer.add("train", steps, {"episode_id": number, "file_path": ""})
    return folder


def write_lerobot(root: Path, version: str, codec: str, *, name: str = "tabletop_lerobot") -> Path:
    """ROOT/NAME of the same episodes."""
    source = write_rlds(root / "rlds_of_it")
    convert(source, root / name, version=version, codec=codec)  # type: ignore[arg-type]
    return root / name


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """In dB, of uint8 arrays."""
    error = np.mean((one.astype(float) - other.astype(float)) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))
