"""Whatever somebody sends as an image becomes uint8 [H, W, 3].

Takes an array in one of the forms that robots' clients use, hands on RGB as every policy of ours takes it.
The surprise: floats are taken for [0, 1] and a first axis of 3 for channels, as openpi's policies read what
LeRobot gives; a float image that goes to 255 is refused rather than guessed at. BGR cannot be seen here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stair.errors import StairError


def as_rgb(value: Any, field: str = "image") -> np.ndarray:
    """uint8 [H, W, 3] from uint8 or float [0, 1], [H, W, 3] or [3, H, W], with leading axes of one.

    Raises StairError naming `field` for anything else.
    """
    wanted = "uint8 [H, W, 3] in RGB; [3, H, W] and floats from 0 to 1 are understood too"
    if not isinstance(value, np.ndarray):
        raise StairError(f"{field}: an array is needed, not {type(value).__name__}", hint=wanted)
    image = value
    while image.ndim > 3 and image.shape[0] == 1:
        image = image[0]
    if image.ndim == 3 and image.shape[2] != 3 and image.shape[0] == 3:
        image = image.transpose(1, 2, 0)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise StairError(f"{field}: {value.dtype} {list(value.shape)} came", hint=wanted)
    if image.dtype.kind == "f":
        if not np.isfinite(image).all() or image.min() < 0 or image.max() > 1:
            raise StairError(f"{field}: floats outside 0 to 1 came", hint=wanted)
        image = np.round(255 * image).astype(np.uint8)
    if image.dtype != np.uint8:
        raise StairError(f"{field}: {value.dtype} {list(value.shape)} came", hint=wanted)
    return np.ascontiguousarray(image)
