"""Reads RLDS data sets as TFDS keeps them on disk, without TensorFlow.

Takes a folder of TFRecord shards with features.json and dataset_info.json, hands on raw episodes. The
surprise: images stay encoded and unread; an episode only says where in which file they lie.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stair.data.example import ByteSpans, MalformedExample, Values, parse_example
from stair.data.rlds_features import (
    FILE_TEMPLATE,
    Features,
    read_features_tree,
    shard_name,
)
from stair.data.tfrecord import GO_ON, CorruptRecord, read_records
from stair.errors import StairError, unknown


@dataclass(frozen=True)
class RawEpisode:
    """One record, parsed but not decoded."""

    shard: int
    """Number within RldsFolder.shards(split)."""
    number: int
    """Record within the shard."""
    offset: int
    """Of the payload within the shard's file; add it to a span to find an image on disk."""
    values: Mapping[str, Values]
    """Flattened: floats float32 [T*n], integers and flags int64 [T*n], text and images ByteSpans of T."""

    def floats(self, key: str, width: int) -> np.ndarray:
        """float32 [T, width]. Raises StairError when the episode has no such numbers."""
        values = self.values.get(key)
        if not isinstance(values, np.ndarray) or len(values) % width or not len(values):
            raise StairError(f"an episode has no '{key}' of {width} numbers", hint=self._known())
        return values.reshape(-1, width)

    def spans(self, key: str) -> ByteSpans:
        """The byte strings of a key. Raises StairError when the episode has none."""
        values = self.values.get(key)
        if not isinstance(values, ByteSpans):
            raise StairError(f"an episode has no byte strings '{key}'", hint=self._known())
        return values

    def _known(self) -> str:
        return f"it has {', '.join(sorted(self.values))}"


@dataclass(frozen=True)
class Shard:
    """One file of a split."""

    path: Path
    episodes: int


@dataclass(frozen=True)
class RldsFolder:
    """A data set on disk: DATASET/VERSION with its two JSON files."""

    folder: Path
    name: str
    """As the files are called; a renamed folder keeps it (bridge_orig holds `bridge_dataset`)."""
    features: Features
    splits: Mapping[str, tuple[Shard, ...]]

    @staticmethod
    def open(folder: Path | str) -> RldsFolder:
        """Reads the JSON files. Raises StairError when they are missing or of another kind."""
        folder = Path(folder)
        info = _read_json(folder / "dataset_info.json")
        features = read_features_tree(_read_json(folder / "features.json"))
        if (kind := info.get("fileFormat", "tfrecord")) != "tfrecord":
            raise StairError(f"{folder} keeps its records as {kind}", hint="STAIR reads fileFormat tfrecord")
        try:
            name = info["name"]
            splits = {split["name"]: _shards(folder, name, split) for split in info["splits"]}
        except (KeyError, TypeError, ValueError) as error:
            raise StairError(f"{folder}/dataset_info.json lacks {error}", hint="is it complete?") from None
        return RldsFolder(folder, name, features, splits)

    def shards(self, split: str) -> tuple[Shard, ...]:
        """The files of a split; `all` is every split, in order. Raises UsageError for an unknown one."""
        if split == "all":
            return tuple(shard for shards in self.splits.values() for shard in shards)
        if split not in self.splits:
            raise unknown(f"split of {self.folder}", split, [*self.splits, "all"])
        return self.splits[split]

    def episodes(
        self, split: str, *, on_corrupt: Callable[[StairError, int], None] | None = None
    ) -> Iterator[RawEpisode]:
        """Yields every episode of a split. A broken or missing one raises StairError naming file, record
        and byte, or goes to `on_corrupt` with the number of episodes that are lost by it."""
        for number, shard in enumerate(self.shards(split)):
            yield from _read_shard(number, shard, on_corrupt)


def _read_shard(
    number: int, shard: Shard, on_corrupt: Callable[[StairError, int], None] | None
) -> Iterator[RawEpisode]:
    faults: list[StairError] = []
    got = 0
    try:
        for record in read_records(shard.path, on_corrupt=faults.append if on_corrupt else None):
            try:
                values = parse_example(record.payload)
            except MalformedExample as error:
                fault = CorruptRecord(shard.path, record.number, record.offset, str(error))
                if on_corrupt is None:
                    raise fault from None
                faults.append(fault)
                continue
            got += 1
            yield RawEpisode(number, record.number, record.offset, values)
    except StairError as error:
        if on_corrupt is None:
            raise
        faults.append(error)
    lost = shard.episodes - got
    if lost and not faults:
        size = shard.path.stat().st_size
        what = f"{shard.path}: {got} records up to byte {size}, dataset_info.json says {shard.episodes}"
        faults.append(StairError(what, hint=GO_ON))
        if on_corrupt is None:
            raise faults[0]
    if on_corrupt is not None:
        for i, fault in enumerate(faults):
            # Each fault cost one record at least; what else is lost went with the last one.
            on_corrupt(fault, 1 if i < len(faults) - 1 else max(1, lost - i))


def _shards(folder: Path, name: str, split: Mapping[str, Any]) -> tuple[Shard, ...]:
    template = split.get("filepathTemplate") or FILE_TEMPLATE
    lengths = [int(length) for length in split["shardLengths"]]
    names = [shard_name(template, name, split["name"], i, len(lengths)) for i in range(len(lengths))]
    return tuple(Shard(folder / n, length) for n, length in zip(names, lengths, strict=True))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text())
    except OSError as error:
        raise StairError(
            f"cannot read {path}: {error.strerror}",
            hint="a TFDS version folder has dataset_info.json and features.json",
        ) from None
    except ValueError as error:
        raise StairError(f"{path} is no JSON: {error}", hint="fetch it again") from None
    if not isinstance(tree, dict):
        raise StairError(f"{path} holds no JSON object", hint="fetch it again")
    return tree
