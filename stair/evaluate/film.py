"""An episode to look at: a video, and a picture of its actions.

Takes a Rollout with frames, hands on `NAME.mp4` (H.264, 5 frames a second) and `NAME.png`: seven curves
over the steps with a strip of frames under them, as CogACT's `visualize_epoch` draws, here with Pillow.
Files are written under another name and renamed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stair.errors import StairError
from stair.evaluate.rollout import Rollout
from stair.rundir import make_folder

FRAMES_PER_S = 5
LABELS = ("x (m)", "y (m)", "z (m)", "roll (rad)", "pitch (rad)", "yaw (rad)", "gripper (1 = open)")

_PAPER, _INK, _SOFT, _GRID = (255, 255, 255), (32, 33, 36), (110, 115, 122), (226, 229, 233)
_GOOD, _BAD = (22, 128, 84), (181, 68, 40)
_WIDTH, _MARGIN, _PANEL, _GAP, _FRAMES = 1120, 28, 96, 14, 8


def film_name(key: str, success: bool) -> str:
    """Where an episode's film lies below the videos folder, without suffix."""
    return f"{key}-{'success' if success else 'failure'}"


def save_film(folder: Path, key: str, rollout: Rollout) -> Path:
    """Writes video and action plot of a filmed episode; returns the video's path.

    Raises StairError when the disk is full or no H.264 encoder is at hand.
    """
    path = folder / f"{film_name(key, rollout.success)}.mp4"
    make_folder(path.parent)
    temporary = path.with_name(f".{path.stem}.partial.mp4")
    try:
        frames = [pad_to_even(frame) for frame in rollout.frames]
        options: dict[str, Any] = {"fps": FRAMES_PER_S, "codec": "libx264", "macro_block_size": 1}
        imageio.mimwrite(temporary, frames, format="FFMPEG", **options)  # type: ignore[arg-type]
        temporary.replace(path)
        picture = temporary.with_suffix(".png")
        # 128 colours are a third of the bytes: a report has room for more plots.
        plot = draw_actions(rollout, title=key).quantize(128, dither=Image.Dither.NONE)
        plot.save(picture, optimize=True)
        picture.replace(path.with_suffix(".png"))
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise StairError(
            f"cannot film {path}: {error}", hint="is the disk full? --videos 0 films none"
        ) from None
    return path


def pad_to_even(frame: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] with its last row and column repeated where a side is odd: H.264 needs even sides."""
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def draw_actions(rollout: Rollout, title: str = "") -> Image.Image:
    """The action plot: one panel per dimension, then frames at even distances."""
    frames = [rollout.frames[k] for k in _even(len(rollout.frames), _FRAMES)]
    thumb = (_WIDTH - 2 * _MARGIN - (_FRAMES - 1) * 6) // _FRAMES
    tall = round(thumb * frames[0].shape[0] / frames[0].shape[1]) if frames else 0
    rows = (len(LABELS) + 1) // 2
    top = 76
    height = top + rows * (_PANEL + _GAP + 18) + tall + _MARGIN + 24
    image = Image.new("RGB", (_WIDTH, height), _PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((_MARGIN, 20), title, _INK, _font(18))
    verdict = "success" if rollout.success else "failure"
    detail = f"{verdict} · {rollout.steps} steps · “{rollout.instruction}”"
    draw.text((_MARGIN, 46), detail, _GOOD if rollout.success else _BAD, _font(14))
    wide = (_WIDTH - 2 * _MARGIN - 24) // 2
    for dim, label in enumerate(LABELS):
        left = _MARGIN + (dim % 2) * (wide + 24)
        y = top + (dim // 2) * (_PANEL + _GAP + 18)
        _panel(draw, (left, y + 18, left + wide, y + 18 + _PANEL), label, rollout, dim)
    y = height - _MARGIN - tall
    for place, frame in enumerate(frames):
        small = Image.fromarray(frame).resize((thumb, tall), Image.Resampling.LANCZOS)
        image.paste(small, (_MARGIN + place * (thumb + 6), y))
    return image


def _panel(
    draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], label: str, rollout: Rollout, dim: int
) -> None:
    left, top, right, bottom = box
    values = rollout.actions[:, dim]
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    span = (high - low) or 1.0

    def at(step: float, value: float) -> tuple[float, float]:
        across = left + (right - left) * step / max(1, len(values) - 1)
        return across, bottom - 4 - (bottom - top - 8) * (value - low) / span

    draw.text((left, top - 18), label, _INK, _font(13))
    bounds = f"{low:.3g} … {high:.3g}"
    draw.text((right - draw.textlength(bounds, _font(12)), top - 17), bounds, _SOFT, _font(12))
    draw.rectangle(box, outline=_GRID)
    draw.line([at(0, 0.0), at(len(values) - 1, 0.0)], _GRID)
    if rollout.first_success is not None:
        x = at(rollout.first_success - 1, 0)[0]
        draw.line([(x, top), (x, bottom)], _GOOD)
    draw.line([at(step, float(value)) for step, value in enumerate(values)], _INK, 2)


def _even(count: int, wanted: int) -> list[int]:
    """`wanted` indices spread over `count`, first and last included."""
    if not count:
        return []
    return [round(k) for k in np.linspace(0, count - 1, min(count, wanted))]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
