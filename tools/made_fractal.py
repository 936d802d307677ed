"""Episodes in the shape of `fractal20220817_data`, made up from a number: for tests, parity and benchmarks.

Takes a number, hands on what one record of the real data set holds, flattened as it lies on disk. Grippers
open and close by relative commands, poses are quaternions, some commands are redundant, as in the real ones.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stair.data.rlds_features import ASPECTS, ATTRIBUTES, COMMANDS, POINTS, fractal_features
from stair.data.rlds_writer import RldsWriter, encode_image

Columns = dict[str, Any]
WORDS = ("pick coke can", "move 7up can near apple", "close bottom drawer", "place sponge upright")


def make_pictures(rng: np.random.Generator, length: int, height: int, width: int) -> list[np.ndarray]:
    """Coarse coloured fields, uint8 [H, W, 3] each."""
    fields = rng.integers(0, 255, (length, height // 8, width // 8, 3), np.uint8)
    return [np.kron(field, np.ones((8, 8, 1), np.uint8)) for field in fields]


def make_episode(
    number: int, length: int, images: Sequence[bytes], *, words: str | None = None, wide: bool = True
) -> Columns:
    """The columns of one episode with these encoded images, of which fewer than `length` repeat in turn.
    `wide` adds the language embedding, which is most of its numbers."""
    rng = np.random.default_rng(number)
    columns: Columns = {}
    for group, shapes in (("observation", POINTS), ("action", COMMANDS)):
        for name, shape in shapes.items():
            embedding = name == "natural_language_embedding"
            if wide or not embedding:
                values = np.zeros((length, 512)) if embedding else rng.normal(0, 0.1, (length, *shape))
                columns[f"steps/{group}/{name}"] = values.astype(np.float32)
    pose = columns["steps/observation/base_pose_tool_reached"]
    quaternion = np.cumsum(rng.normal(0, 0.1, (length, 4)), axis=0) + rng.normal(size=4)
    pose[:, 3:] = quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True)
    columns["steps/observation/gripper_closed"] = rng.random((length, 1)).astype(np.float32)
    moves = rng.choice([0.0, 0.05, -0.1, 0.1, 1.0, -1.0, 0.6], (length, 1), p=[0.8, *[0.2 / 6] * 6])
    columns["steps/action/gripper_closedness_action"] = moves.astype(np.float32)
    last = np.arange(length) == length - 1
    columns["steps/action/terminate_episode"] = np.stack([last, ~last, ~last], axis=1).astype(np.int32)
    columns |= {"steps/is_first": np.arange(length) == 0, "steps/is_last": last, "steps/is_terminal": last}
    columns["steps/reward"] = last.astype(np.float32)
    told = WORDS[number % len(WORDS)] if words is None else words
    columns["steps/observation/natural_language_instruction"] = [told.encode()] * length
    columns["steps/observation/image"] = [images[t % len(images)] for t in range(length)]
    columns |= {f"aspects/{name}": np.array([True]) for name in ASPECTS}
    for name in ATTRIBUTES:
        columns[f"attributes/{name}"] = np.array([number % 3])
        columns[f"attributes/{name}_name"] = [f"{name} {number % 3}".encode()]
    return columns


def write_fractal(
    root: Path, lengths: Sequence[int], *, shards: int = 2, height: int = 48, width: int = 64
) -> Path:
    """ROOT/fractal20220817_data/0.1.0 with an episode of each length; every third is of PNGs, as the real
    encoding is not documented."""
    folder = root / "fractal20220817_data" / "0.1.0"
    features = fractal_features(height, width)
    name = "fractal20220817_data"
    with RldsWriter(folder, name=name, features=features, split_shards={"train": shards}) as writer:
        for number, length in enumerate(lengths):
            pictures = make_pictures(np.random.default_rng(number), length, height, width)
            encoding = "png" if number % 3 == 2 else "jpeg"
            images = [encode_image(picture, encoding, 95) for picture in pictures]
            writer.add_columns("train", make_episode(number, length, images))
    return folder


def tiny_jpeg(size: int = 16) -> bytes:
    """A valid picture of few bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (90, 120, 60)).save(buffer, "JPEG", quality=5)
    return buffer.getvalue()
