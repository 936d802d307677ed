"""A token cache from its plan to its last shard.

Takes a training configuration and a folder, hands on what is to be done (a Task for each data set, which
`--dry` shows) and does it: reads the data in the order of its files, so that a frame is decoded once though
five clips show it, encodes every step's clip, and writes shards whole. What is there already is never made
again; a job that was killed goes on with the shard it was at.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stair.data.chunks import clip_rows
from stair.data.config import DataConfig, ImageConfig, InputConfig, clip_offsets
from stair.data.corpus import Corpus, decode_frame
from stair.data.part import Part
from stair.data.tokens import (
    STORED,
    DType,
    TokenSet,
    clip_facts,
    difference,
    index_key,
    missing_shards,
    read_manifest,
    set_folder,
    shard_file,
    write_manifest,
    write_shard,
)
from stair.data.transforms import resize
from stair.errors import StairError, UsageError
from stair.models.parts.dynamic import FrozenEncoder
from stair.train.config import TrainConfig

ABANDONED_S = 600.0
"""A half-written shard that nobody has touched for so long was left by a killed job."""


@dataclass(frozen=True)
class Share:
    """The part of the shards that one job makes: every `of`-th, from number `number` on."""

    number: int = 0
    of: int = 1

    @staticmethod
    def read(text: str) -> Share:
        """From `i/n`, 0 <= i < n. Raises UsageError."""
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if not found or not int(found[1]) < int(found[2]):
            raise UsageError(f"--shard {text} is no share", hint="i/n with i from 0 to n - 1, as 0/8 … 7/8")
        return Share(int(found[1]), int(found[2]))

    def __contains__(self, shard: int) -> bool:
        return shard % self.of == self.number


@dataclass(frozen=True)
class Task:
    """One data set's share of the work."""

    part: Part
    folder: Path
    tokens: TokenSet
    found: tuple[int, ...]
    """Shards of this job that are there and whole."""
    missing: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Clips to encode."""
        return sum(len(self.tokens.rows_of(shard)) for shard in self.missing)

    @property
    def bytes(self) -> int:
        """Room they need."""
        return sum(self.tokens.bytes_of(shard) for shard in self.missing)


def plan_tasks(
    config: TrainConfig,
    encoder: FrozenEncoder,
    folder: Path,
    share: Share,
    dtype: DType | None = None,
    rows_per_shard: int | None = None,
) -> list[Task]:
    """What is to be done; writes nothing but the indices of the data sets.

    Where a cache was begun, dtype and shard size are its own unless they are named. Raises UsageError when
    it was begun for other clips, another encoder or other data.
    """
    data, inputs = config.data, InputConfig(image=config.inputs.image, clip=config.inputs.clip)
    rows = DataConfig(
        root=data.root,
        mixture=data.mixture,
        format=data.format,
        lerobot=data.lerobot,
        split=data.split,
        skip_corrupt=data.skip_corrupt,
    )
    tasks = []
    for part in Corpus.open(rows, replace(inputs, image=replace(inputs.image, crop=1.0))).parts:
        index = part.index
        place = set_folder(folder, index.dataset, data.split)
        begun = read_manifest(place)
        tokens = TokenSet(
            index.dataset,
            data.split,
            index_key(index),
            clip_facts(inputs, index.dataset),
            encoder.identity,
            len(index),
            config.model.dynamic.tokens,
            config.model.dynamic.width,
            dtype or (begun.dtype if begun else "float16"),
            rows_per_shard or (begun.rows_per_shard if begun else 4096),
        )
        if begun and (differs := difference(tokens, begun)):
            raise UsageError(f"{place} was begun for something else: {differs}", hint="another folder")
        missing = set(missing_shards(place, tokens))
        mine = [shard for shard in range(tokens.shards) if shard in share]
        tasks.append(
            Task(
                part,
                place,
                tokens,
                found=tuple(shard for shard in mine if shard not in missing),
                missing=tuple(shard for shard in mine if shard in missing),
            )
        )
    return tasks


def do_task(
    task: Task, config: TrainConfig, encoder: FrozenEncoder, batch: int, told: Callable[[int], None]
) -> None:
    """Makes a task's missing shards; `told` hears how many clips are encoded so far."""
    clip = config.inputs.clip
    image = ImageConfig(clip.image_size, config.inputs.image.resize)
    if read_manifest(task.folder) is None:
        write_manifest(task.folder, task.tokens)
    sweep(task)
    done = 0
    for shard in task.missing:
        rows = task.tokens.rows_of(shard)
        clips = Clips(task.part, image, clip_offsets(clip, task.tokens.dataset))
        starts = range(rows.start, rows.stop, batch)
        batches = [np.arange(start, min(start + batch, rows.stop)) for start in starts]
        values = np.empty((len(rows), task.tokens.tokens, task.tokens.width), STORED[task.tokens.dtype])
        for numbers, pixels in zip(batches, read_ahead(clips.of, batches), strict=True):
            tokens = encoder(pixels.to(config_device(config)))
            if not tokens.isfinite().all():
                raise StairError(
                    f"{task.tokens.dataset}: tokens of rows {numbers[0]} to {numbers[-1]} are not finite",
                    hint="--train.model.dynamic.precision fp32",
                )
            values[numbers - rows.start] = stored(tokens.cpu(), task.tokens.dtype)
            done += len(numbers)
            told(done)
        write_shard(task.folder, shard, values)


def config_device(config: TrainConfig) -> torch.device:
    """Where the encoder computes."""
    wanted = config.engine.device
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def stored(tokens: Tensor, dtype: DType) -> np.ndarray:
    """float32 tokens in numpy's type of a shard."""
    match dtype:
        case "float32":
            return tokens.numpy()
        case "float16":
            return tokens.half().numpy()
        case "bfloat16":
            return tokens.bfloat16().view(torch.int16).numpy().view(np.uint16)


class Clips:
    """Clips of ascending rows of a data set."""

    def __init__(self, part: Part, image: ImageConfig, offsets: Sequence[int]) -> None:
        self.part, self.image, self.offsets = part, image, tuple(offsets)
        self.frames: dict[int, np.ndarray] = {}
        """Of the rows that a later clip may show, uint8 [C, C, 3]."""

    def of(self, rows: np.ndarray) -> Tensor:
        """uint8 [B, T, 3, C, C], laid out as training has them (channels last in memory)."""
        starts = self.part.index.starts
        episodes = np.searchsorted(starts, rows, side="right") - 1
        places = clip_rows(rows, starts[episodes], starts[episodes + 1] - 1, self.offsets)
        new = sorted(set(places.ravel().tolist()) - self.frames.keys())
        self.part.reader.expect(self.part.index.frames[new])
        for row in new:
            self.frames[row] = resize(decode_frame(self.part, row), self.image)
        pixels = np.stack([[self.frames[row] for row in clip] for clip in places.tolist()])
        oldest = int(rows[-1]) + 1 + min(self.offsets)
        self.frames = {row: frame for row, frame in self.frames.items() if row >= oldest}
        return torch.from_numpy(pixels).permute(0, 1, 4, 2, 3)


def read_ahead(read: Callable[[np.ndarray], Tensor], batches: Sequence[np.ndarray]) -> Iterator[Tensor]:
    """Yields `read` of every batch; the next one is read while its caller works on this one."""
    with ThreadPoolExecutor(1) as reader:
        coming: Future[Tensor] | None = None
        for rows in [*batches, None]:
            ready, coming = coming, None if rows is None else reader.submit(read, rows)
            if ready is not None:
                yield ready.result()


def sweep(task: Task) -> None:
    """Removes what killed jobs left of shards that this one will make."""
    for shard in task.missing:
        for left in task.folder.glob(f".{shard_file(task.folder, shard).name}.*.tmp"):
            with contextlib.suppress(FileNotFoundError):  # it was not left, and has become a shard
                if time.time() - left.stat().st_mtime > ABANDONED_S:
                    left.unlink()
