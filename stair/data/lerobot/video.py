"""Frames of videos by their numbers, as LeRobot keeps them: AV1 or H.264 in mp4.

Takes files and frame numbers, hands on pixels. torchcodec decodes where it can be loaded, PyAV elsewhere;
which one is said once. The surprise: a frame is asked for by the middle of its time and must answer with its
own time stamp, because frame numbers from a header are guesses, and a clip a frame early teaches nothing.
"""

from __future__ import annotations

import functools
import os
from collections import OrderedDict
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from stair.console import say
from stair.errors import StairError

Decoder = Literal["torchcodec", "pyav"]
KEPT = 32
"""Videos that a process keeps open; each holds a file, its table of frames and a decoder's few pictures."""
SHORT_RUN, LONG_RUN = 3, 24
"""Frames that PyAV decodes in passing rather than to seek. LeRobot's videos have a key frame every second
frame, where seeking for each frame of a clip is a half faster; where they turn out to be further apart, a
clip's 17 frames are decoded in one run."""
OFF = 0.1
"""Frames that a time stamp may be off: those of joined videos are sums of rounded durations."""
CURE = (
    "is the file complete, and no git-lfs pointer? AV1 needs FFmpeg with libdav1d "
    "(Debian: apt-get install ffmpeg), or PyAV, which brings it (pip install av)"
)


class Video(Protocol):
    """One open video."""

    frames: int
    """That its header speaks of."""

    def take(self, numbers: Sequence[int]) -> list[np.ndarray]:
        """uint8 [H, W, 3] of frames by ascending numbers, in one pass. Raises StairError."""
        ...

    def close(self) -> None: ...


@functools.cache
def choose_decoder() -> Decoder:
    """What decodes videos in this process. Raises StairError when neither library can be loaded."""
    try:
        import torchcodec.decoders  # noqa: F401  # type: ignore[import-not-found]
    except ModuleNotFoundError:
        why = "torchcodec is not installed"
    except (ImportError, RuntimeError, OSError):
        # Its own message is a page: one attempt for every version of FFmpeg.
        why = "torchcodec finds no FFmpeg libraries, or was built for another torch"
    else:
        say("videos are decoded by torchcodec")
        return "torchcodec"
    try:
        import av  # noqa: F401
    except ImportError:
        raise StairError(
            f"videos cannot be decoded: {why}, PyAV is not installed",
            hint="pip install av; or torchcodec for this torch, with FFmpeg's libraries (Debian: ffmpeg)",
        ) from None
    say(f"videos are decoded by PyAV: {why}")
    return "pyav"


def open_video(path: str, fps: float, decoder: Decoder | None = None) -> Video:
    """Opens a video whose frame n is shown from n / fps on. Raises StairError when it cannot be decoded."""
    if not os.path.isfile(path):
        raise StairError(f"{path} is missing", hint="is the copy of the data set complete? fetch its videos")
    decoder = decoder or choose_decoder()
    return TorchcodecVideo(path, fps) if decoder == "torchcodec" else PyavVideo(path, fps)


class VideoFrames:
    """Frames of an index whose files are videos; safe to hand to forked workers."""

    def __init__(self, files: Sequence[str], fps: float, decoder: Decoder | None = None) -> None:
        self.files, self.fps = files, fps
        self.decoder: Decoder = decoder or choose_decoder()
        self.open_videos: OrderedDict[int, Video] = OrderedDict()
        self.ahead: dict[tuple[int, int], np.ndarray] = {}
        self.process = os.getpid()
        self.parents: Any = None

    def expect(self, frames: np.ndarray) -> None:
        """Decodes the frames int64 [n, 3] that are read next, each video's in one pass."""
        self.ahead = {}
        for file in np.unique(frames[:, 0]).tolist():
            mine = frames[frames[:, 0] == file]
            numbers = np.unique(mine[:, 1]).tolist()
            taken = self._video(file, int(mine[0, 2])).take(numbers)
            self.ahead.update({(file, number): image for number, image in zip(numbers, taken, strict=True)})

    def read(self, file: int, number: int, frames: int) -> np.ndarray:
        """uint8 [H, W, 3] of one frame of a file that has so many `frames`. Raises StairError naming both
        when the file has another number, or cannot be decoded."""
        found = self.ahead.get((file, number))
        return self._video(file, frames).take([number])[0] if found is None else found

    def close(self) -> None:
        """Closes what this process opened."""
        if self.process == os.getpid():
            for video in self.open_videos.values():
                video.close()
        self.open_videos.clear()

    def _video(self, file: int, frames: int) -> Video:
        if self.process != os.getpid():
            # Forked. The parent's decoders are kept alive unused: to free them here could wait for
            # threads that did not come along.
            self.parents = self.open_videos
            self.open_videos, self.ahead, self.process = OrderedDict(), {}, os.getpid()
        video = self.open_videos.get(file)
        if video is None:
            video = open_video(self.files[file], self.fps, self.decoder)
            check_frames(self.files[file], video, frames)
            while len(self.open_videos) >= KEPT:
                self.open_videos.popitem(last=False)[1].close()
            self.open_videos[file] = video
        else:
            self.open_videos.move_to_end(file)
        return video


def check_frames(path: str, video: Video, frames: int) -> None:
    """Raises StairError unless the video has as many frames as the data set says."""
    if video.frames != frames:
        raise StairError(
            f"{path} has {video.frames} frames, the data set's episodes in it have {frames} steps",
            hint="is the copy complete? fetch this video and meta again, or data.skip_corrupt true",
        )


class TorchcodecVideo:
    """By torchcodec."""

    def __init__(self, path: str, fps: float) -> None:
        from torchcodec.decoders import VideoDecoder  # type: ignore[import-not-found]

        self.path, self.fps = path, fps
        try:
            # `approximate` reads the header only; `exact` would scan a file of 200 MB whole at each opening.
            self.decoder = VideoDecoder(
                path, dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="approximate"
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise _cannot(path, "", error) from None
        metadata = self.decoder.metadata
        self.frames = int(metadata.num_frames or 0)
        self.start = float(getattr(metadata, "begin_stream_seconds_from_header", None) or 0.0)

    def take(self, numbers: Sequence[int]) -> list[np.ndarray]:
        middles = [self.start + (number + 0.5) / self.fps for number in numbers]
        try:
            batch = self.decoder.get_frames_played_at(seconds=middles)
        except (RuntimeError, ValueError, IndexError) as error:
            raise _cannot(self.path, str(self.decoder.metadata.codec), error, numbers) from None
        _check_times(self.path, numbers, ((batch.pts_seconds.numpy() - self.start) * self.fps).tolist())
        return list(batch.data.numpy())

    def close(self) -> None:
        del self.decoder


class PyavVideo:
    """By PyAV."""

    def __init__(self, path: str, fps: float) -> None:
        import av
        from av.error import FFmpegError

        self.path, self.fps = path, fps
        try:
            self.container = av.open(path)
            self.stream = self.container.streams.video[0]
        except (FFmpegError, OSError, ValueError, IndexError) as error:
            raise _cannot(path, "", error) from None
        self.stream.codec_context.thread_count = 1  # workers are processes
        self.frames = int(self.stream.frames)
        self.start = int(self.stream.start_time or 0)
        self.tick = Fraction(self.stream.time_base or 1)
        self.run = SHORT_RUN

    def take(self, numbers: Sequence[int]) -> list[np.ndarray]:
        from av.error import FFmpegError

        images: list[np.ndarray] = []
        try:
            decoded: Any = iter(())
            at = -float("inf")  # frame that was decoded last, by its time stamp
            for number in numbers:
                sought = number - at > self.run
                if sought:
                    ticks = self.start + round(number / self.fps / self.tick)
                    self.container.seek(ticks, stream=self.stream)
                    decoded = self.container.decode(self.stream)
                    at = -1.0
                while at < number - OFF:
                    frame = next(decoded, None)
                    if frame is None:
                        raise StairError(f"{self.path} ends after frame {at:g}", hint="is the file complete?")
                    at = float((frame.pts - self.start) * self.tick) * self.fps
                    if sought and number - at > LONG_RUN / 4:
                        self.run = LONG_RUN
                    sought = False
                _check_times(self.path, [number], [at])
                images.append(frame.to_ndarray(format="rgb24"))
        except (FFmpegError, OSError, ValueError) as error:
            raise _cannot(self.path, self.stream.codec_context.name, error, numbers) from None
        return images

    def close(self) -> None:
        self.container.close()


def _check_times(path: str, asked: Sequence[int], got: Sequence[float]) -> None:
    if any(abs(number - time) > OFF for number, time in zip(asked, got, strict=True)):
        came = ", ".join(f"{time:.2f}" for time in got)
        raise StairError(
            f"{path}: frames {list(asked)} were asked for, by their time stamps {came} came",
            hint="a frame every 1/fps second is expected; does meta/info.json give the video's fps?",
        )


def _cannot(path: str, codec: str, error: Exception, numbers: Sequence[int] = ()) -> StairError:
    what = f"frames {list(numbers)}" if numbers else "it"
    why = (str(error) or type(error).__name__).splitlines()[0][:200]
    size = Path(path).stat().st_size if os.path.isfile(path) else 0
    return StairError(
        f"{path}: cannot decode {what} ({codec or 'unknown codec'}, {size} bytes): {why}",
        hint=CURE,
    )
