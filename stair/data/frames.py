"""Single encoded images, read from the middle of large files.

Takes file number, byte offset and length (`FrameReader`), hands on bytes. LeRobot's videos and tables have
readers of the same form, chosen by `open_frames`. Nothing else of a record is read. The surprise:
open files belong to a process and are counted by the system, so they are opened when first needed, again
after a fork, and the ones unused for longest are closed.
"""

from __future__ import annotations

import os
import resource
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from stair.errors import StairError

if TYPE_CHECKING:
    from stair.data.index import Index


class Frames(Protocol):
    """Frames of an index by its `frames` rows; may be handed to forked processes."""

    def expect(self, frames: np.ndarray) -> None:
        """Tells which frames, int64 [n, 3], are read next; they may be fetched together."""
        ...

    def read(self, file: int, at: int, extent: int, /) -> bytes | np.ndarray:
        """An encoded image, or the pixels uint8 [H, W, 3] of a video's frame. Raises StairError."""
        ...


def open_frames(index: Index) -> Frames:
    """The reader that an index needs. Raises StairError when its library is missing."""
    if index.storage.kind == "video":
        from stair.data.lerobot.video import VideoFrames

        return VideoFrames(index.files, index.storage.fps)
    if index.storage.kind == "column":
        from stair.data.lerobot.tables import TableFrames

        return TableFrames(index.files, index.storage.column)
    return FrameReader(index.files)


class FrameReader:
    """Reads frames of a data set's files; safe to hand to forked workers."""

    def __init__(self, files: Sequence[str]) -> None:
        self.files = files
        self.open_files: OrderedDict[int, int] = OrderedDict()
        self.process = os.getpid()
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.most = 4096 if soft == resource.RLIM_INFINITY else max(16, min(4096, soft // 2))

    def expect(self, frames: np.ndarray) -> None:
        """Nothing to prepare: each image is one small read."""

    def read(self, file: int, offset: int, length: int) -> bytes:
        """The bytes of one frame. Raises StairError naming file and byte when they cannot be read."""
        try:
            data = os.pread(self._descriptor(file), length, offset)
        except OSError as error:
            why = error.strerror or str(error)
        else:
            if len(data) == length:
                return data
            why = "the file ends there"
        raise StairError(
            f"{self.files[file]}: cannot read {length} bytes at byte {offset}: {why}",
            hint="did the data set change or disappear while it was in use?",
        )

    def close(self) -> None:
        """Closes what this process opened."""
        if self.process == os.getpid():
            for descriptor in self.open_files.values():
                os.close(descriptor)
        self.open_files.clear()

    def _descriptor(self, file: int) -> int:
        if self.process != os.getpid():  # forked: what the parent opened is the parent's
            self.open_files, self.process = OrderedDict(), os.getpid()
        descriptor = self.open_files.get(file)
        if descriptor is None:
            if len(self.open_files) >= self.most:
                os.close(self.open_files.popitem(last=False)[1])
            descriptor = self.open_files[file] = os.open(self.files[file], os.O_RDONLY | os.O_CLOEXEC)
        elif len(self.files) > self.most:  # only then will one have to go
            self.open_files.move_to_end(file)
        return descriptor
