"""What happens to an image or an action on its way into a model, once for training and serving.

Takes encoded or raw images and physical numbers, hands on what a model is fed, and the way back for
actions. numpy, except for the bicubic resize. The surprise is normalisation: q01..q99 become -1..1 with
clipping (OpenVLA's BOUNDS_Q99), but a dimension that never moves becomes 0 and not amplified noise.
"""

from __future__ import annotations

import io
import math

import numpy as np

from stair.data.config import ImageConfig
from stair.data.resample import resize_lanczos
from stair.data.statistics import Moments
from stair.errors import StairError

STILL = 1e-6
"""A dimension whose q99 - q01 is smaller holds nothing but noise."""


def normalize(values: np.ndarray, moments: Moments, dims: slice = slice(None)) -> np.ndarray:
    """Physical numbers [..., D] as a model sees them, float32. `dims` are those that `values` holds.

    clip(2 (x - q01) / (q99 - q01 + 1e-8) - 1, -1, 1); unmasked dimensions stay, still ones become 0.
    """
    low, high, mask, still = _bounds(moments, dims)
    scaled = np.clip(2 * (values - low) / (high - low + np.float32(1e-8)) - 1, -1, 1)
    return np.where(mask, np.where(still, np.float32(0), scaled), values).astype(np.float32)


def unnormalize(values: np.ndarray, moments: Moments, dims: slice = slice(None)) -> np.ndarray:
    """The way back: 0.5 (a + 1) (q99 - q01) + q01 where masked, float32 [..., D]. Nothing is clipped."""
    low, high, mask, _ = _bounds(moments, dims)
    return np.where(mask, 0.5 * (values + 1) * (high - low) + low, values).astype(np.float32)


def _bounds(moments: Moments, dims: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    low, high = (np.array(bound[dims], np.float32) for bound in (moments.q01, moments.q99))
    lowest, highest = (np.array(bound[dims], np.float32) for bound in (moments.min, moments.max))
    still = (high - low < STILL) | (lowest == highest)
    return low, high, np.array(moments.mask[dims], bool), still


def decode_image(encoded: bytes, into: np.ndarray | None = None) -> np.ndarray:
    """uint8 [H, W, 3] from JPEG or PNG bytes, told by their first bytes. Raises StairError when broken.

    A JPEG of the very size of `into` (contiguous) is decoded there and `into` itself returned. `fastdct` is
    bit-exact with TensorFlow's default JPEG decoder, on which OpenVLA's data was read.
    """
    try:
        if encoded[:2] == b"\xff\xd8":
            import simplejpeg

            if into is not None and simplejpeg.decode_jpeg_header(encoded)[:2] == into.shape[:2]:
                simplejpeg.decode_jpeg(encoded, fastdct=True, buffer=into)
                return into
            return simplejpeg.decode_jpeg(encoded, fastdct=True)
        if encoded[:4] == b"\x89PNG":
            from PIL import Image

            return np.array(Image.open(io.BytesIO(encoded)).convert("RGB"))
    except (ValueError, OSError, SyntaxError) as error:
        raise StairError(
            f"cannot decode an image of {len(encoded)} bytes: {error}", hint="is the file complete?"
        ) from None
    raise StairError(f"an image begins with {encoded[:4]!r}", hint="STAIR reads JPEG and PNG")


def resize(image: np.ndarray, config: ImageConfig) -> np.ndarray:
    """uint8 [S, S, 3] from uint8 [H, W, 3]; the very same array when it has that size already."""
    size = config.size
    if image.shape[:2] == (size, size):
        return image
    if config.resize == "lanczos":
        return resize_lanczos(image, size)
    import torch
    from torch.nn.functional import interpolate

    planes = torch.tensor(image).permute(2, 0, 1)[None]
    return interpolate(planes, (size, size), mode="bicubic", antialias=True)[0].permute(1, 2, 0).numpy()


def prepare_image(image: np.ndarray, config: ImageConfig) -> np.ndarray:
    """What the vision towers see of a camera image: uint8 [3, S, S] from uint8 [H, W, 3]."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise StairError(f"a camera image is uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
    planes = resize(image, config).transpose(2, 0, 1)
    if config.crop < 1:
        return shrink(take_window(planes, *middle(config.crop)))
    return np.ascontiguousarray(planes)


def middle(area: float) -> tuple[float, float, float]:
    """The window in the middle with this share of the area: top, left and side as shares of the side."""
    side = math.sqrt(area)
    return (1 - side) / 2, (1 - side) / 2, side


def take_window(images: np.ndarray, top: float, left: float, side: float) -> np.ndarray:
    """A window stretched to the whole picture, float32 [..., H, W] in 0..1 from uint8 [..., H, W].

    Bilinear without antialiasing, corners on corners: `tf.image.crop_and_resize`, which OpenVLA crops with
    in training and when it serves.
    """
    upper, lower, down = _between(images.shape[-2], top, side)
    before, after, right = _between(images.shape[-1], left, side)
    values = images * np.float32(1 / 255)
    values = values[..., before] + (values[..., after] - values[..., before]) * right
    return values[..., upper, :] + (values[..., lower, :] - values[..., upper, :]) * down[:, None]


def _between(pixels: int, begin: float, side: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Between which two pixels each new one lies, and how far from the first to the second."""
    places = (pixels - 1) * (begin + side * np.linspace(0, 1, pixels))
    first = np.clip(np.floor(places), 0, pixels - 1).astype(np.int64)
    return first, np.minimum(first + 1, pixels - 1), (places - first).astype(np.float32)


def shrink(values: np.ndarray) -> np.ndarray:
    """uint8 from floats in 0..1, as `tf.image.convert_image_dtype` rounds: 0..255.5, cut off."""
    return np.clip(values * np.float32(255.5), 0, 255).astype(np.uint8)
