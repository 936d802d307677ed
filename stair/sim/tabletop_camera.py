"""A tabletop scene becomes a picture: oblique and orthographic, seen from behind the robot.

Takes a layout and the present places of gripper and blocks, hands on uint8 [S, S, 3]. The surprise: since
the camera looks along x and nothing is turned, every visible face is an upright rectangle in the picture,
so exact anti-aliasing is a product of two overlaps and no rasteriser is needed. The picture is symmetric:
mirroring y mirrors the columns, which the training augmentation relies on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stair.sim.tabletop_layout import BLOCK_HALF, TARGET_HALF, TARGETS, Layout

VIEW_M = 0.34  # side of the square that the picture shows: the workspace and half an open gripper
_ELEVATION = np.deg2rad(50.0)  # 90 would look straight down
_UP_X, _UP_Z = float(np.sin(_ELEVATION)), float(np.cos(_ELEVATION))  # metres of picture per metre of x, z
_BOTTOM_M = -0.125  # picture height of the lowest row; x = z = 0 is at 0

_TABLE = np.array([206, 194, 178], np.float32)
_PLATE, _PLATE_RIM = np.array([246, 246, 248], np.float32), np.array([168, 176, 188], np.float32)
_TOWEL, _TOWEL_HEM = np.array([150, 96, 190], np.float32), np.array([122, 70, 164], np.float32)
_BLOCK_COLOURS = {
    "red": (214, 48, 40),
    "green": (52, 158, 66),
    "blue": (44, 92, 206),
    "yellow": (242, 202, 34),
}
_BLOCK_FACES = {  # front in the shade, top in the light
    name: (0.68 * np.array(rgb, np.float32), 46 + 0.82 * np.array(rgb, np.float32))
    for name, rgb in _BLOCK_COLOURS.items()
}
_FINGER = np.array([34, 34, 40], np.float32)
_PALM, _PALM_TOP = np.array([66, 68, 76], np.float32), np.array([92, 94, 102], np.float32)
_STEM = np.array([110, 112, 120], np.float32)
_SHADOW = 0.5  # share of the light that is missing in the middle of the gripper's shadow
_SHADOW_X, _SHADOW_Y = 0.030, 0.046

FINGER_GAP_OPEN_M = 0.070
_FINGER_WIDTH, _FINGER_LENGTH = 0.012, 0.050
_PALM_HALF_Y, _PALM_HALF_X, _PALM_HEIGHT = 0.047, 0.012, 0.016
_STEM_HALF_Y, _STEM_LENGTH = 0.010, 0.040


@dataclass(frozen=True)
class Pose:
    """What moves: all that a picture needs besides the layout."""

    gripper: np.ndarray
    """float64 [3]: the point between the finger tips."""
    opening: float
    """0 closed to 1 open."""
    blocks: np.ndarray
    """float64 [2, 3]: x, y and the height of the underside."""


class Camera:
    """Draws pictures of one size. `prepare` paints what stays, `shoot` what moves."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._scale = size / VIEW_M
        self._edges = np.arange(size, dtype=np.float32)
        self._table = _paint_table(size)
        self._still = self._table
        self._colours: tuple[str, ...] = ()

    def prepare(self, layout: Layout) -> None:
        """Paints the table and the targets of a layout, once per episode."""
        self._still = self._table.copy()
        self._colours = layout.colours
        for name, place in zip(TARGETS, layout.targets, strict=True):
            if name == "plate":
                self._disc(self._still, place, TARGET_HALF, _PLATE_RIM)
                self._disc(self._still, place, 0.84 * TARGET_HALF, _PLATE)
            else:
                for half, colour in ((TARGET_HALF, _TOWEL_HEM), (0.84 * TARGET_HALF, _TOWEL)):
                    self._flat(self._still, float(place[0]), float(place[1]), half, half, 0.0, colour)

    def shoot(self, pose: Pose) -> np.ndarray:
        """The picture, a fresh uint8 [S, S, 3]."""
        canvas = self._still.copy()
        gripper, blocks = pose.gripper.tolist(), pose.blocks.tolist()  # plain floats: faster one by one
        self._shadow(canvas, gripper, 0.0)
        # Painter's order: what is nearer to the camera (nearer to the robot, higher up) comes later.
        nearness = [self._nearness(x, base + BLOCK_HALF) for x, _, base in blocks]
        nearness.append(self._nearness(gripper[0], gripper[2] + BLOCK_HALF))
        for index in sorted(range(len(nearness)), key=nearness.__getitem__):
            if index < len(blocks):
                self._block(canvas, blocks[index], self._colours[index], gripper)
            else:
                self._gripper(canvas, gripper, pose.opening)
        canvas += 0.5
        return canvas.astype(np.uint8)

    def pixel(self, place: np.ndarray) -> tuple[float, float]:
        """Row and column (fractional, 0 at the upper left edge) where a point [x, y, z] is seen."""
        return self._row(place[0], place[2]), self._column(place[1])

    @staticmethod
    def _nearness(x: float, z: float) -> float:
        return z * _UP_X - x * _UP_Z

    def _row(self, x: float, z: float) -> float:
        return self.size - (x * _UP_X + z * _UP_Z - _BOTTOM_M) * self._scale

    def _column(self, y: float) -> float:
        return 0.5 * self.size - y * self._scale

    def _block(self, canvas: np.ndarray, block: list[float], colour: str, gripper: list[float]) -> None:
        x, y, base = block
        top = base + 2 * BLOCK_HALF
        front_colour, top_colour = _BLOCK_FACES[colour]
        self._upright(canvas, x - BLOCK_HALF, y, BLOCK_HALF, base, top, front_colour)
        patch = self._flat(canvas, x, y, BLOCK_HALF, BLOCK_HALF, top, top_colour)
        if patch is not None and gripper[2] >= top:
            self._shadow(canvas, gripper, top, within=patch)

    def _gripper(self, canvas: np.ndarray, tip: list[float], opening: float) -> None:
        x, y, z = tip
        offset = 0.5 * (opening * FINGER_GAP_OPEN_M + _FINGER_WIDTH)
        palm = z + _FINGER_LENGTH
        top = palm + _PALM_HEIGHT
        for side in (-1, 1):
            self._upright(canvas, x, y + side * offset, 0.5 * _FINGER_WIDTH, z, palm, _FINGER)
        self._upright(canvas, x - _PALM_HALF_X, y, _PALM_HALF_Y, palm, top, _PALM)
        self._flat(canvas, x, y, _PALM_HALF_X, _PALM_HALF_Y, top, _PALM_TOP)
        self._upright(canvas, x, y, _STEM_HALF_Y, top, top + _STEM_LENGTH, _STEM)

    def _upright(
        self, canvas: np.ndarray, x: float, y: float, half: float, low: float, high: float, colour: np.ndarray
    ) -> None:
        """A face that looks at the robot, at depth x, from height low to high."""
        self._rectangle(
            canvas,
            self._row(x, high),
            self._row(x, low),
            self._column(y + half),
            self._column(y - half),
            colour,
        )

    def _flat(
        self,
        canvas: np.ndarray,
        x: float,
        y: float,
        half_x: float,
        half_y: float,
        height: float,
        colour: np.ndarray,
    ) -> _Patch | None:
        """A face that looks up, at a height."""
        top, bottom = self._row(x + half_x, height), self._row(x - half_x, height)
        return self._rectangle(
            canvas, top, bottom, self._column(y + half_y), self._column(y - half_y), colour
        )

    def _rectangle(
        self, canvas: np.ndarray, top: float, bottom: float, left: float, right: float, colour: np.ndarray
    ) -> _Patch | None:
        """Blends a rectangle of fractional pixel edges; None when it is out of the picture."""
        rows, columns = self._span(top, bottom), self._span(left, right)
        if rows is None or columns is None:
            return None
        cover = (self._overlap(rows, top, bottom)[:, None] * self._overlap(columns, left, right))[..., None]
        part = canvas[rows, columns]
        part += (colour - part) * cover
        return _Patch(rows, columns, cover)

    def _shadow(
        self, canvas: np.ndarray, gripper: list[float], height: float, within: _Patch | None = None
    ) -> None:
        """Darkens what lies straight below the gripper at a height, softly towards the rim."""
        row, column = self._row(gripper[0], height), self._column(gripper[1])
        reach_rows, reach_columns = _SHADOW_X * _UP_X * self._scale, _SHADOW_Y * self._scale
        rows = within.rows if within else self._span(row - reach_rows, row + reach_rows)
        columns = within.columns if within else self._span(column - reach_columns, column + reach_columns)
        if rows is None or columns is None:
            return
        down = (self._edges[rows] + 0.5 - row) / reach_rows
        across = (self._edges[columns] + 0.5 - column) / reach_columns
        light = np.maximum(1 - (down * down)[:, None] - across * across, 0)[..., None]
        if within:
            light = light * within.cover
        canvas[rows, columns] *= 1 - _SHADOW * light

    def _disc(self, canvas: np.ndarray, place: np.ndarray, radius: float, colour: np.ndarray) -> None:
        """A disc on the table, covered by its share of 6 x 6 points in each pixel."""
        row, column = self._row(place[0], 0.0), self._column(place[1])
        points = (np.arange(self.size * 6) + 0.5) / 6
        down = (points - row) / (radius * self._scale * _UP_X)
        across = (points - column) / (radius * self._scale)
        inside = (down * down)[:, None] + across * across <= 1
        cover = inside.reshape(self.size, 6, self.size, 6).mean(axis=(1, 3), dtype=np.float32)[..., None]
        canvas += (colour - canvas) * cover

    def _span(self, low: float, high: float) -> slice | None:
        """The pixels that an interval touches, or None."""
        first, last = max(0, math.floor(low)), min(self.size, math.ceil(high))
        return slice(first, last) if first < last else None

    @staticmethod
    def _overlap(span: slice, low: float, high: float) -> np.ndarray:
        """How much of each pixel of `span` lies between low and high: all, but for the two at the ends."""
        cover = np.ones(span.stop - span.start, np.float32)
        if low > span.start:
            cover[0] -= low - span.start
        if high < span.stop:
            cover[-1] -= span.stop - high
        return cover


@dataclass(frozen=True)
class _Patch:
    """Where a rectangle was drawn and how much of each pixel it covers."""

    rows: slice
    columns: slice
    cover: np.ndarray


def _paint_table(size: int) -> np.ndarray:
    """The empty table: pale wood with a slow change of light and faint boards, symmetric in y."""
    across = (np.arange(size) + 0.5) / size - 0.5
    up = across[:, None]
    light = 1.0 - 0.05 * up - 0.09 * (across**2)[None, :] + 0.012 * np.cos(2 * np.pi * 5 * up)
    return (_TABLE * light[..., None]).astype(np.float32)
