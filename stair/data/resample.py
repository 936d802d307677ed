"""Lanczos resizing with antialiasing, as two products with banded matrices.

Takes uint8 images of any size, hands on square ones. The filter is Lanczos with a = 3, stretched when
shrinking, cut and renormalised at the borders, as PIL and TensorFlow (`lanczos3`) have it; like
TensorFlow's, on whose images OpenVLA was trained, nothing is rounded between the two directions. The
surprise is the form: output pixels come in groups that need the same few input rows, so each group is one
small matrix product, which is 2-3 times as fast as PIL.
"""

from __future__ import annotations

import math
import threading

import numpy as np
from numpy.lib.stride_tricks import as_strided

LOBES = 3
GROUP = 14
"""Fewest output pixels of one product: fewer make the products too small, more make them wasteful."""
_own = threading.local()  # work arrays are reused, but not between threads


def resize_lanczos(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 [size, size, 3] (a view of [3, size, size]) from uint8 [H, W, 3]."""
    plans = getattr(_own, "plans", None)
    if plans is None:
        plans = _own.plans = {}
    height, width = image.shape[:2]
    key = (height, width, size)
    if key not in plans:
        if len(plans) > 8:  # nobody uses that many sizes for long
            plans.clear()
        plans[key] = _Plan(height, width, size)
    return plans[key].run(image)


def lanczos_weights(old: int, new: int) -> np.ndarray:
    """The matrix float64 [new, old] that resizes one direction; its rows sum to 1."""
    scale = old / new
    stretch = max(scale, 1.0)
    centres = (np.arange(new)[:, None] + 0.5) * scale
    distance = (np.arange(old) + 0.5 - centres) / stretch
    weights = np.where(np.abs(distance) < LOBES, np.sinc(distance) * np.sinc(distance / LOBES), 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


class _Bands:
    """One direction: `groups` products of [rows, taps], group g reading from input g * step on."""

    def __init__(self, old: int, new: int) -> None:
        groups = math.gcd(old, new)
        while new // groups < GROUP and groups % 2 == 0:
            groups //= 2
        self.groups, self.rows, self.step = groups, new // groups, old // groups
        self.margin = math.ceil(LOBES * max(old / new, 1.0)) + 1
        self.taps = self.step + 2 * self.margin
        padded = np.pad(lanczos_weights(old, new), ((0, 0), (self.margin, self.margin)))
        self.matrices = np.stack(
            [
                padded[g * self.rows : (g + 1) * self.rows, g * self.step : g * self.step + self.taps]
                for g in range(groups)
            ]
        ).astype(np.float32)


class _Plan:
    """The matrices for one pair of sizes, and arrays to work in; the margins stay zero."""

    def __init__(self, height: int, width: int, size: int) -> None:
        down, across = _Bands(height, size), _Bands(width, size)
        self.size, self.down = size, down
        self.tall = np.zeros((height + 2 * down.margin, width * 3), np.float32)
        self.inner_rows = self.tall[down.margin : down.margin + height]
        line, item = self.tall.strides
        self.tall_windows = as_strided(
            self.tall, (down.groups, down.taps, width * 3), (down.step * line, line, item)
        )
        self.half = np.empty((down.groups, down.rows, width * 3), np.float32)
        self.wide = np.zeros((3, size, width + 2 * across.margin), np.float32)
        self.inner_columns = self.wide[:, :, across.margin : across.margin + width]
        line, item = self.wide.strides[1:]
        self.wide_windows = as_strided(
            self.wide, (across.groups, 3 * size, across.taps), (across.step * item, line, item)
        )
        self.across = np.ascontiguousarray(across.matrices.transpose(0, 2, 1))
        self.whole = np.empty((3 * size, size), np.float32)
        self.whole_groups = self.whole.reshape(3 * size, across.groups, across.rows).transpose(1, 0, 2)

    def run(self, image: np.ndarray) -> np.ndarray:
        """uint8 [size, size, 3]"""
        self.inner_rows[:] = image.reshape(len(image), -1)
        np.matmul(self.down.matrices, self.tall_windows, out=self.half)
        self.inner_columns[:] = self.half.reshape(self.size, -1, 3).transpose(2, 0, 1)
        np.matmul(self.wide_windows, self.across, out=self.whole_groups)
        self.whole += 0.5
        np.clip(self.whole, 0, 255, out=self.whole)
        return self.whole.astype(np.uint8).reshape(3, self.size, self.size).transpose(1, 2, 0)
