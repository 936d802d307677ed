"""Pictures become videos as LeRobot keeps them, and videos are joined without being coded again.

Takes uint8 pictures, hands on mp4 files that appear under their names when they are whole. Settings are
LeRobot's (AV1 at crf 30 with a key frame every second picture, yuv420p): large for a video, quick to enter
anywhere. PyAV brings the encoders. The surprise is SVT-AV1, which refuses pictures of less than 64 pixels,
and makes a root's thread, with all that it ever starts from then on, a real-time one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from stair.errors import StairError, unknown

ENCODERS: dict[str, dict[str, dict[str, str]]] = {
    "av1": {
        "libsvtav1": {"crf": "30", "g": "2", "preset": "10"},
        "libaom-av1": {"crf": "30", "g": "2", "cpu-used": "8", "row-mt": "1"},
    },
    "h264": {"libx264": {"crf": "23", "g": "2", "preset": "veryfast", "bf": "0"}},
}
"""FFmpeg's encoders of a codec, the preferred first, and their settings (lerobot's `encode_video_frames`)."""
SMALLEST = {"libsvtav1": 64}
"""Pixels of the shorter side."""


def encode_video(path: Path, pictures: Sequence[np.ndarray], fps: float, codec: str) -> None:
    """Writes uint8 [H, W, 3] pictures as a video; sides must be even. Raises StairError when no encoder for
    the codec is at hand or the disk is full."""
    if codec not in ENCODERS:
        raise unknown("video codec", codec, ENCODERS)
    av = _pyav()
    height, width = pictures[0].shape[:2]
    if height % 2 or width % 2:
        raise StairError(
            f"{path.name}: pictures of {width} x {height} pixels cannot be yuv420p", hint="even sides"
        )
    name = _encoder(av, codec, min(height, width))
    with _whole(path) as partial, av.open(str(partial), "w", format="mp4") as container:
        stream: Any = container.add_stream(name, rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = ENCODERS[codec][name]
        with _as_scheduled_before():
            stream.codec_context.open()
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = number
            frame.time_base = 1 / Fraction(fps).limit_denominator(1001)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def join_videos(path: Path, parts: Sequence[Path], lengths: Sequence[int], fps: float) -> None:
    """Writes videos of one making one after the other, `lengths` frames each, without coding them again."""
    av = _pyav()
    rate = Fraction(fps).limit_denominator(1001)
    with _whole(path) as partial, av.open(str(partial), "w", format="mp4") as joined:
        target: Any = None
        passed = 0
        for part, length in zip(parts, lengths, strict=True):
            with av.open(str(part)) as container:
                source = container.streams.video[0]
                if target is None:
                    target = joined.add_stream_from_template(source, opaque=True)
                offset = round(passed / rate / source.time_base)
                for packet in container.demux(source):
                    if packet.dts is None:  # the end
                        continue
                    packet.pts += offset
                    packet.dts += offset
                    packet.stream = target
                    joined.mux(packet)
            passed += length


def _pyav() -> Any:
    os.environ.setdefault("SVT_LOG", "1")  # errors only; it tells of every video otherwise
    try:
        import av
    except ImportError as error:
        raise StairError(
            f"videos are written by PyAV: {error}", hint="pip install av, or --codec jpeg"
        ) from None
    return av


def _encoder(av: Any, codec: str, side: int) -> str:
    for name in ENCODERS[codec]:
        if name in av.codecs_available and side >= SMALLEST.get(name, 0):
            return name
    raise StairError(
        f"this PyAV cannot write {codec} of {side} pixels: it lacks {' or '.join(ENCODERS[codec])}",
        hint="another --codec, or a PyAV wheel from PyPI",
    )


@contextmanager
def _as_scheduled_before() -> Iterator[None]:
    """Takes back from this thread, and from those made inside, the real-time priority that was given to them:
    a machine whose cores are all busy so stands still for anybody else."""
    if not hasattr(os, "sched_getscheduler"):  # Linux only
        yield
        return
    policy, given = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for task in map(int, os.listdir("/proc/self/task")):
            with suppress(OSError):  # it has ended
                if os.sched_getscheduler(task) != policy:
                    os.sched_setscheduler(task, policy, given)


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A name to write under, which becomes `path` when the block ends well. Its failures are StairErrors."""
    from av.error import FFmpegError

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield partial
        partial.rename(path)
    except (FFmpegError, OSError, ValueError) as error:
        raise StairError(
            f"cannot write {path}: {str(error).splitlines()[0] or type(error).__name__}",
            hint="is the disk full? are the pictures of one size?",
        ) from None
    finally:
        partial.unlink(missing_ok=True)
