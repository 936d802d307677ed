"""What happens to an image or an action on its way into a model, once for training and serving.

Takes encoded or raw images and physical numbers, hands on what a model is fed, and the way back for
actions. numpy, except for the bicubic resize. The surprise is normalisation: q01..q99 become -1..1 with
clipping (OpenVLA's BOUNDS_Q99), but a dimension that never moves becomes 0 and not amplified noise.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stair.data.config import AugmentConfig, ImageConfig
from stair.data.order import uniforms
from stair.data.resample import resize_lanczos
from stair.data.statistics import Moments
from stair.errors import StairError

if TYPE_CHECKING:
    import torch

STILL = 1e-6
"""A dimension whose q99 - q01 is smaller holds nothing but noise."""
MIRRORED_ACTION = np.array([1, -1, 1, -1, 1, -1, 1], np.float32)
"""Left and right exchanged: y changes sign, and with it the rotations about x and z."""
MIRRORED_POSITION = MIRRORED_ACTION[:3]


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
    return np.ascontiguousarray(resize(image, config).transpose(2, 0, 1))


def change_tones(
    images: torch.Tensor, means: torch.Tensor, brightness: torch.Tensor, contrast: torch.Tensor
) -> torch.Tensor:
    """uint8 [B, ...] with contrast scaled around `means` and brightness added; float32 [B] each, brightness
    as a share of full scale."""
    shape = (-1, *(1,) * (images.ndim - 1))
    lift = means * (1 - contrast) + 255 * brightness
    changed = images.float().mul_(contrast.reshape(shape)).add_(lift.reshape(shape))
    return changed.round_().clamp_(0, 255).byte()


@dataclass(frozen=True)
class Look:
    """One drawn augmentation; the same for a sample's image and every frame of its clip."""

    right: float
    """Share of the side by which the picture moves to the left: its content from further right appears."""
    down: float
    mirror: bool
    brightness: float
    """Added, as a share of full scale."""
    contrast: float
    """Factor around the present image's mean."""

    @property
    def moves(self) -> bool:
        return bool(self.right or self.down or self.mirror)

    @property
    def recolours(self) -> bool:
        return self.brightness != 0 or self.contrast != 1

    def place(self, images: np.ndarray) -> np.ndarray:
        """Shifts, repeating the edges, and mirrors uint8 [..., H, W]."""
        images = _shifted(images, round(self.down * images.shape[-2]), -2)
        images = _shifted(images, round(self.right * images.shape[-1]), -1)
        return images[..., ::-1] if self.mirror else images


def _shifted(images: np.ndarray, pixels: int, axis: int) -> np.ndarray:
    """new[i] = old[i + pixels] along one axis, the edge repeated; slices, as they are ten times a gather."""
    if not pixels:
        return images
    old = np.swapaxes(images, axis, 0)
    result = np.empty_like(images)
    new, far = np.swapaxes(result, axis, 0), abs(pixels)
    if pixels > 0:
        new[:-far], new[-far:] = old[far:], old[-1]
    else:
        new[far:], new[:far] = old[:-far], old[0]
    return result


PLAIN = Look(0.0, 0.0, False, 0.0, 1.0)


def draw_looks(config: AugmentConfig, seed: int, positions: np.ndarray) -> list[Look]:
    """An augmentation for each position of the run, [B]; it depends on seed and position alone."""
    if config == AugmentConfig():
        return [PLAIN] * len(positions)
    draws = uniforms(seed, positions, 5)
    signed = 2 * draws - 1
    return [
        Look(
            right=float(config.shift * signed[row, 0]),
            down=float(config.shift * signed[row, 1]),
            mirror=bool(config.mirror and draws[row, 2] < 0.5),
            brightness=float(config.brightness * signed[row, 3]),
            contrast=float(1 + config.contrast * signed[row, 4]),
        )
        for row in range(len(positions))
    ]


def mirror_rows(values: np.ndarray, signs: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Physical values [B, ..., D] with the lateral signs of the rows in bool [B] exchanged; must come
    before normalisation, whose bounds are not symmetric."""
    flags = mirrored.reshape(-1, *(1,) * (values.ndim - 1))
    return np.where(flags, values * signs, values)
