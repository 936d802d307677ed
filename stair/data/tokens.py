"""What the dynamic encoder said of every clip, computed once and read by row.

    FOLDER/DATASET-SPLIT/manifest.json tokens-00000.bin tokens-00001.bin …

Takes rows of an Index, hands on tokens float32 [B, D, W]; tools/cache-dynamics writes them. A shard is its
rows one after the other and nothing else, so any row is one small read. The surprise: the manifest says what
the tokens depend on (clips, encoder, and by a hash which frame stands in which row), and a cache of anything
else is refused: it would train without an error and without a meaning.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stair.data.config import AugmentConfig, DataConfig, InputConfig, clip_offsets
from stair.data.frames import FrameReader
from stair.data.index import Index
from stair.errors import StairError, UsageError
from stair.rundir import write_json, write_whole

FORMAT = 1
"""Counted up when the files change their meaning."""
MANIFEST = "manifest.json"
GO_ON = "tools/cache-dynamics, given the same recipe and folder, makes what is missing"

DType = Literal["float16", "bfloat16", "float32"]
STORED: dict[str, Any] = {"float16": np.float16, "bfloat16": np.uint16, "float32": np.float32}
"""numpy's type of a stored value; bfloat16 is kept as its bits."""


@dataclass(frozen=True)
class TokenSet:
    """A cache of one data set's split, as its manifest says it."""

    dataset: str
    split: str
    index: str
    """`index_key` of the rows."""
    clip: dict[str, Any]
    """`clip_facts` of the clips."""
    encoder: dict[str, Any]
    """The encoder's identity: plain values that differ when the tokens would."""
    rows: int
    tokens: int
    width: int
    dtype: DType = "float16"
    rows_per_shard: int = 4096
    format: int = FORMAT

    @property
    def row_bytes(self) -> int:
        return self.tokens * self.width * np.dtype(STORED[self.dtype]).itemsize

    @property
    def shards(self) -> int:
        return math.ceil(self.rows / self.rows_per_shard)

    def rows_of(self, shard: int) -> range:
        """The rows of a shard; the last one has fewer."""
        first = shard * self.rows_per_shard
        return range(first, min(first + self.rows_per_shard, self.rows))

    def bytes_of(self, shard: int) -> int:
        """The size of a shard's file."""
        return len(self.rows_of(shard)) * self.row_bytes


def index_key(index: Index) -> str:
    """Changes with the frames' places and sizes, their order or the episodes' bounds, and not when files are
    copied."""
    found = hashlib.sha256(json.dumps([index.dataset, [Path(file).name for file in index.files]]).encode())
    for array in (index.frames, index.starts):
        found.update(np.ascontiguousarray(array, np.int64).data)
    return found.hexdigest()


def clip_facts(inputs: InputConfig, dataset: str) -> dict[str, Any]:
    """Which frames of which form a data set's clips are made of."""
    offsets = list(clip_offsets(inputs.clip, dataset))
    return {"offsets": offsets, "image_size": inputs.clip.image_size, "resize": inputs.image.resize}


def set_folder(folder: Path | str, dataset: str, split: str) -> Path:
    """Where the cache of a data set's split lies."""
    return Path(folder) / f"{dataset}-{split}"


def shard_file(folder: Path, shard: int) -> Path:
    """A shard's file in the folder of its data set."""
    return folder / f"tokens-{shard:05d}.bin"


def read_manifest(folder: Path) -> TokenSet | None:
    """What a data set's folder says of itself; None when it says nothing. Raises StairError when that is
    damaged or of another format."""
    file = folder / MANIFEST
    try:
        values = json.loads(file.read_text())
        if values["format"] != FORMAT:
            raise StairError(
                f"{file} has format {values['format']}, this version reads {FORMAT}",
                hint="make the cache anew with tools/cache-dynamics",
            )
        return TokenSet(**values)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StairError(
            f"cannot read {file}: {error!r}", hint="remove its folder and make it anew"
        ) from None


def write_manifest(folder: Path, tokens: TokenSet) -> None:
    """Writes the manifest whole."""
    write_json(folder / MANIFEST, asdict(tokens))


def write_shard(folder: Path, shard: int, values: np.ndarray) -> None:
    """Writes a shard whole; values [rows, D, W] of the stored type. Raises StairError on a full disk."""
    write_whole(shard_file(folder, shard), np.ascontiguousarray(values).data.cast("B"))  # type: ignore[arg-type]


def missing_shards(folder: Path, tokens: TokenSet) -> list[int]:
    """Shards whose file is not there or not whole."""
    sizes: dict[str, int] = {}
    for entry in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # the file that another job was writing has its name now
            sizes[entry.name] = entry.stat().st_size
    wanted = ((shard, shard_file(folder, shard).name) for shard in range(tokens.shards))
    return [shard for shard, name in wanted if sizes.get(name) != tokens.bytes_of(shard)]


def difference(mine: TokenSet, cached: TokenSet) -> str:
    """The first thing in which a cache differs from what is wanted, with both values; empty if nothing."""
    names = {"index": "rows of the data set", "clip": "clip settings", "encoder": "encoder"}
    for field in fields(TokenSet):
        wanted, found = getattr(mine, field.name), getattr(cached, field.name)
        if wanted == found:
            continue
        if isinstance(wanted, dict):
            key = next(key for key in {**wanted, **found} if wanted.get(key) != found.get(key))
            wanted, found, what = wanted.get(key), found.get(key), f"{names[field.name]}: {key}"
        else:
            what = names.get(field.name, field.name)
        return f"{what} is {_brief(found)}, and {_brief(wanted)} is asked for"
    return ""


def _brief(value: Any) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) > 60 else text


class TokenReader:
    """A whole cache of one data set, read by row; safe to hand to forked workers."""

    def __init__(self, folder: Path, tokens: TokenSet) -> None:
        self.tokens = tokens
        self.shape = (tokens.tokens, tokens.width)
        self.encoder = tokens.encoder
        """The identity of the encoder that made them."""
        self.reader = FrameReader([str(shard_file(folder, shard)) for shard in range(tokens.shards)])

    def read(self, rows: np.ndarray) -> np.ndarray:
        """float32 [B, D, W] of rows int64 [B]. Raises StairError naming the file that cannot be read."""
        tokens = self.tokens
        places = zip(*np.divmod(rows, tokens.rows_per_shard), strict=True)
        data = [self.reader.read(int(s), int(r) * tokens.row_bytes, tokens.row_bytes) for s, r in places]
        stored = np.frombuffer(b"".join(data), STORED[tokens.dtype]).reshape(len(rows), *self.shape)
        if tokens.dtype == "bfloat16":
            return (stored.astype(np.uint32) << 16).view(np.float32)
        return stored.astype(np.float32)


def open_tokens(
    data: DataConfig, inputs: InputConfig, indices: Sequence[Index]
) -> list[TokenReader] | list[None]:
    """A reader for each data set, or Nones where `data.dynamic_tokens` names no cache.

    Raises UsageError for a cache of other clips or rows, or together with an augmentation of clips,
    StairError for a missing or unfinished one.
    """
    if not data.dynamic_tokens:
        return [None] * len(indices)
    refuse_changed_clips(data.augment, inputs.image.crop)
    readers = [open_set(data.dynamic_tokens, index, data.split, inputs) for index in indices]
    first = readers[0].tokens
    for other in (reader.tokens for reader in readers[1:]):
        if (first.encoder, first.tokens, first.width) != (other.encoder, other.tokens, other.width):
            raise UsageError(
                f"{data.dynamic_tokens}: {first.dataset} and {other.dataset} were made by different encoders",
                hint="make one of them anew with tools/cache-dynamics",
            )
    return readers


def open_set(folder: Path | str, index: Index, split: str, inputs: InputConfig) -> TokenReader:
    """The reader of one data set's cache, once everything about it has been checked but its encoder."""
    place = set_folder(folder, index.dataset, split)
    cached = read_manifest(place)
    if cached is None:
        there = sorted(path.parent.name for path in Path(folder).glob(f"*/{MANIFEST}"))
        raise StairError(
            f"no token cache at {place}: {folder} holds {', '.join(there) or 'none'}",
            hint=f"tools/cache-dynamics RECIPE {folder}, or no data.dynamic_tokens",
        )
    wanted = TokenSet(
        index.dataset,
        split,
        index_key(index),
        clip_facts(inputs, index.dataset),
        cached.encoder,
        len(index),
        cached.tokens,
        cached.width,
        cached.dtype,
        cached.rows_per_shard,
    )
    if differs := difference(wanted, cached):
        raise UsageError(
            f"{place} was made for something else: {differs}", hint=f"{GO_ON}, in another folder"
        )
    if missing := missing_shards(place, cached):
        raise StairError(
            f"{place} is not finished: {cached.shards - len(missing)} of {cached.shards} shards, "
            f"{shard_file(place, missing[0]).name} is the first that is missing or cut off",
            hint=GO_ON,
        )
    return TokenReader(place, cached)


def refuse_changed_clips(augment: AugmentConfig, crop: float) -> None:
    """Raises UsageError for augmentation of clips, which cached tokens cannot follow; `crop` is that of
    images."""
    if augment.mirror:
        raise UsageError(
            "data.augment.mirror flips clips, and data.dynamic_tokens holds the tokens of unflipped ones",
            hint="--train.data.augment.mirror false, or no data.dynamic_tokens",
        )
    if augment.clip and (augment != augment.still() or crop < 1):
        raise UsageError(
            "data.augment changes clips, and data.dynamic_tokens holds the tokens of clips as recorded",
            hint="--train.data.augment.clip false changes images only; or no data.dynamic_tokens",
        )
