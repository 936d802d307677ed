"""Writes RLDS data sets as TFDS keeps them on disk, without TensorFlow.

Takes episodes of nested steps, hands on a folder of TFRecord shards with features.json and
dataset_info.json, which appears under its name only when it is complete. The surprise: on disk an episode
is ONE record whose keys are flattened paths (`steps/observation/image_0`) and whose values run over all
steps.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from stair.data.example import encode_example
from stair.data.rlds_features import (
    FILE_TEMPLATE,
    Feature,
    Features,
    features_tree,
    info_tree,
    shard_name,
)
from stair.data.tfrecord import frame
from stair.errors import StairError, unknown

VERSION = "1.0.0"


class RldsWriter:
    """Writes a data set folder; it appears under its name only when everything is written.

    with RldsWriter(root / "tabletop" / "1.0.0", name="tabletop", features=manipulation_features(48, 48),
                    split_shards={"train": 2}) as writer:
        writer.add("train", steps, {"episode_id": 7, "file_path": "seed 7"})

    A step is a dictionary, nested as the names say (`{"observation": {"image_0": ...}, "action": ...}`):
    images uint8 [H, W, 3] (or bytes that are encoded already), numbers as arrays of their shape, text as
    str. Episodes go to the shards in turn. When the block ends with an error, nothing is left behind.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        name: str,
        features: Features,
        split_shards: Mapping[str, int],
        image_encoding: Literal["jpeg", "png"] = "jpeg",
        jpeg_quality: int = 95,
    ) -> None:
        self.folder, self.name, self.features = Path(folder), name, features
        self.image_encoding, self.jpeg_quality = image_encoding, jpeg_quality
        if self.folder.exists():
            raise StairError(
                f"{self.folder} exists", hint="remove it, or write under another name or version"
            )
        # Not the process's number alone: what was killed with it stays, and in a container it comes again.
        own = f"{os.getpid()}-{os.urandom(4).hex()}"
        self.work = self.folder.with_name(f".{self.folder.name}.writing-{own}")
        try:
            self.work.mkdir(parents=True)
            self.splits = {split: _SplitFiles(self.work, split, n) for split, n in split_shards.items()}
        except OSError as error:
            raise StairError(
                f"cannot write {self.folder}: {error.strerror}", hint="is it writable?"
            ) from None

    def add(
        self,
        split: str,
        steps: Sequence[Mapping[str, Any]],
        metadata: Mapping[str, Any],
        episode: Mapping[str, Any] | None = None,
    ) -> None:
        """Appends one episode; `episode` holds what stands beside its steps. Raises StairError for values
        that do not fit the features, or a full disk."""
        if not steps:
            raise StairError("an episode without steps cannot be written")
        columns = self._columns("steps/", self.features.steps, steps)
        columns |= self._columns("episode_metadata/", self.features.metadata, [metadata])
        columns |= self._columns("", self.features.episode, [episode or {}])
        self.add_columns(split, columns)

    def add_columns(self, split: str, columns: Mapping[str, Sequence[bytes] | np.ndarray]) -> None:
        """Appends one episode as it lies on disk, taken as it is: `steps/action` float32 [T, 7] and so on.
        Twenty times as fast as steps, for large made-up data sets."""
        if split not in self.splits:
            raise unknown("split", split, self.splits)
        try:
            self.splits[split].append(encode_example(columns))
        except OSError as error:
            raise StairError(
                f"cannot write {self.folder}: {error.strerror}", hint="is the disk full?"
            ) from None

    def close(self) -> None:
        """Finishes all files and moves the folder to its name."""
        try:
            finished = {split: files.finish(self.name) for split, files in self.splits.items()}
            splits = {split: sizes for split, sizes in finished.items() if sizes[0]}
            version = self.folder.name if self.folder.name[:1].isdigit() else VERSION
            self._write_json("features.json", features_tree(self.features, self.image_encoding))
            self._write_json("dataset_info.json", info_tree(self.name, version, splits))
            self.work.rename(self.folder)
        except OSError as error:
            self.abandon()
            raise StairError(
                f"cannot write {self.folder}: {error.strerror}", hint="is the disk full?"
            ) from None

    def abandon(self) -> None:
        """Removes what was written so far."""
        for files in self.splits.values():
            files.close()
        shutil.rmtree(self.work, ignore_errors=True)

    def __enter__(self) -> RldsWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def _write_json(self, name: str, tree: Any) -> None:
        (self.work / name).write_text(json.dumps(tree, indent=2))

    def _columns(
        self, prefix: str, features: Mapping[str, Feature], rows: Sequence[Mapping[str, Any]]
    ) -> dict[str, Sequence[bytes] | np.ndarray]:
        flat = [flatten(row) for row in rows]
        for number, row in enumerate(flat):
            if odd := features.keys() ^ row.keys():
                name = sorted(odd)[0]
                what = "is missing" if name in features else "is not among the features"
                raise StairError(f"{self.name}: {prefix.rstrip('/')} {number}: '{name}' {what}")
        return {
            f"{prefix}{name}": self._column(f"{prefix}{name}", feature, [row[name] for row in flat])
            for name, feature in features.items()
        }

    def _column(self, name: str, feature: Feature, values: list[Any]) -> Sequence[bytes] | np.ndarray:
        if feature.kind == "text":
            return [value.encode() if isinstance(value, str) else bytes(value) for value in values]
        if feature.kind == "image" and all(isinstance(value, bytes) for value in values):
            return values
        array = np.asarray(values)
        if array.shape[1:] != feature.shape or (feature.kind == "image" and array.dtype != np.uint8):
            raise StairError(
                f"{self.name}: {name} is {array.dtype} {list(array.shape[1:])}",
                hint=f"the features say {feature.dtype} {list(feature.shape)}",
            )
        if feature.kind == "image":
            return [encode_image(image, self.image_encoding, self.jpeg_quality) for image in array]
        return array.astype(feature.dtype)


class _SplitFiles:
    """The open shards of one split; their number is not in their names before it is known."""

    def __init__(self, folder: Path, split: str, shards: int) -> None:
        self.folder, self.split = folder, split
        self.paths = [folder / f"{split}-{shard:05d}" for shard in range(max(1, shards))]
        self.files: list[BinaryIO] = [open(path, "wb") for path in self.paths]  # noqa: SIM115
        self.lengths = [0] * len(self.paths)
        self.num_bytes = 0

    @property
    def episodes(self) -> int:
        return sum(self.lengths)

    def append(self, payload: bytes) -> None:
        shard = self.episodes % len(self.files)
        self.files[shard].write(frame(payload))
        self.lengths[shard] += 1
        self.num_bytes += len(payload)

    def close(self) -> None:
        for file in self.files:
            file.close()

    def finish(self, name: str) -> tuple[list[int], int]:
        """Names the shards that hold episodes; the others were never needed."""
        self.close()
        lengths = [length for length in self.lengths if length]
        for shard, path in enumerate(self.paths):
            if shard < len(lengths):
                target = shard_name(FILE_TEMPLATE, name, self.split, shard, len(lengths))
                path.rename(self.folder / target)
            else:
                path.unlink()
        return lengths, self.num_bytes


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, keys joined by '/'."""
    result: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}/{key}" if prefix else key
        if isinstance(value, Mapping):
            result |= flatten(value, name)
        else:
            result[name] = value
    return result


def encode_image(image: np.ndarray, encoding: str, quality: int) -> bytes:
    """A uint8 [H, W, 3] image as JPEG or PNG. JPEGs keep full colour resolution (4:4:4): at 48 px the
    usual halving would blur a block into its neighbour."""
    if encoding == "jpeg":
        import simplejpeg

        return simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, colorsubsampling="444")
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
