"""Random changes to training samples, drawn for each position of a run and for nothing else.

Takes an AugmentConfig and positions, hands on a `Look` for each and what it does to pictures, actions and
positions. Crop and tones are OpenVLA's (dlimp's `augment`, tf.image): in floats, one after the other, cut to
what a picture can hold after each, rounded once at the end. The surprise: without any augmentation a look may
still crop, the middle, as serving does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stair.data.config import AugmentConfig
from stair.data.order import uniforms
from stair.data.transforms import middle, shrink, take_window

MIRRORED_ACTION = np.array([1, -1, 1, -1, 1, -1, 1], np.float32)
"""Left and right exchanged: y changes sign, and with it the rotations about x and z."""
MIRRORED_POSITION = MIRRORED_ACTION[:3]


@dataclass(frozen=True)
class Look:
    """One drawn augmentation; the same for a sample's image and every frame of its clip."""

    right: float = 0.0
    """Share of the side by which the picture moves to the left: its content from further right appears."""
    down: float = 0.0
    mirror: bool = False
    top: float = 0.0
    """Where the window begins that is stretched to the whole picture, as a share of the side."""
    left: float = 0.0
    side: float = 1.0
    """Of the window."""
    brightness: float = 0.0
    """Added, as a share of full scale."""
    contrast: float = 1.0
    """Factor around each colour's mean over the picture."""
    saturation: float = 1.0
    """Factor of the HSV saturation."""
    hue: float = 0.0
    """Added to the HSV hue, as a share of the circle."""

    @property
    def moves(self) -> bool:
        return bool(self.right or self.down or self.mirror)

    @property
    def crops(self) -> bool:
        return self.side != 1

    @property
    def recolours(self) -> bool:
        return (self.brightness, self.contrast, self.saturation, self.hue) != (0, 1, 1, 0)

    def place(self, images: np.ndarray) -> np.ndarray:
        """Shifts, repeating the edges, and mirrors uint8 [..., H, W]."""
        images = _shifted(images, round(self.down * images.shape[-2]), -2)
        images = _shifted(images, round(self.right * images.shape[-1]), -1)
        return images[..., ::-1] if self.mirror else images

    def restyle(self, images: np.ndarray) -> np.ndarray:
        """Crops and recolours uint8 [..., 3, H, W]."""
        if self.crops:
            values = take_window(images, self.top, self.left, self.side)
        else:
            values = images * np.float32(1 / 255)
        return shrink(self._tones(values) if self.recolours else values)

    def _tones(self, values: np.ndarray) -> np.ndarray:
        """Brightness, contrast, saturation and hue of float32 [..., 3, H, W] in 0..1, in this order."""
        values = np.clip(values + np.float32(self.brightness), 0, 1)
        means = values.mean(axis=(-2, -1), keepdims=True)
        values = np.clip((values - means) * np.float32(self.contrast) + means, 0, 1)
        if self.saturation == 1 and self.hue == 0:
            return values
        return turn_colours(values, self.saturation, self.hue)


def draw_looks(
    config: AugmentConfig, seed: int, positions: np.ndarray, middle_crop: float = 1.0
) -> list[Look]:
    """An augmentation for each position of the run, [B]; it depends on seed and position alone.

    middle_crop: `inputs.image.crop`, the share of the area that is seen where `config` crops nothing.
    """
    if config == config.still():
        top, left, side = middle(middle_crop)
        return [Look(top=top, left=left, side=side)] * len(positions)
    draws = uniforms(seed, positions, 9)
    signed = 2 * draws - 1
    looks = []
    for row in range(len(positions)):
        top, left, side = middle(middle_crop)
        if config.crop < 1:
            side = math.sqrt(config.crop)
            top, left = (float((1 - side) * draws[row, column]) for column in (5, 6))
        looks.append(
            Look(
                right=float(config.shift * signed[row, 0]),
                down=float(config.shift * signed[row, 1]),
                mirror=bool(config.mirror and draws[row, 2] < 0.5),
                top=top,
                left=left,
                side=side,
                brightness=float(config.brightness * signed[row, 3]),
                contrast=float(1 + config.contrast * signed[row, 4]),
                saturation=float(1 + config.saturation * signed[row, 7]),
                hue=float(config.hue * signed[row, 8]),
            )
        )
    return looks


def turn_colours(values: np.ndarray, saturation: float, hue: float) -> np.ndarray:
    """float32 [..., 3, H, W] in 0..1 with its HSV saturation scaled, at most to 1, and its hue turned by a
    share of the circle (Smith 1978; the way back is f(n) = V - V S max(0, min(k, 4 - k, 1)), k = (n + 6 H)
    mod 6 for n = 5, 3, 1)."""
    red, green, blue = (values[..., channel, :, :] for channel in range(3))
    value = values.max(axis=-3)
    chroma = value - values.min(axis=-3)
    safe = np.where(chroma > 0, chroma, 1)
    sixth = np.where(
        value == red,
        (green - blue) / safe,
        np.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sixth = sixth + np.float32(6 * hue)
    strength = chroma / np.where(value > 0, value, 1)
    depth = value * np.minimum(strength * np.float32(saturation), 1)
    turned = np.empty_like(values)
    for channel, n in enumerate((5, 3, 1)):
        k = np.mod(n + sixth, np.float32(6))
        turned[..., channel, :, :] = value - depth * np.clip(np.minimum(k, 4 - k), 0, 1)
    return turned


def mirror_rows(values: np.ndarray, signs: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Physical values [B, ..., D] with the lateral signs of the rows in bool [B] exchanged; must come
    before normalisation, whose bounds are not symmetric."""
    flags = mirrored.reshape(-1, *(1,) * (values.ndim - 1))
    return np.where(flags, values * signs, values)


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
