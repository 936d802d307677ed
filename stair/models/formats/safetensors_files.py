"""A folder of safetensors, one file or shards with an index: read lazily, written whole.

Takes a folder, hands on its tensors by name from the headers alone; and writes tensors into shards of a
given size with the index that Hugging Face's tools know. A tensor is read when it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from stair.errors import StairError
from stair.models.formats.stored import Stored
from stair.rundir import write_json

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD_BYTES = 5_000_000_000
"""Size of the largest shard written, as Hugging Face's tools choose it."""
DAMAGED = "the file is damaged or incomplete: fetch or save it again"

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
"""The format's names and torch's."""


def has_weights(folder: Path) -> bool:
    """True where `open_safetensors` would find a whole model's file or index."""
    return (folder / WEIGHTS).exists() or (folder / INDEX).exists()


def open_safetensors(folder: Path) -> dict[str, Stored]:
    """Every tensor of a folder by its name in the files; only headers are read.

    Raises StairError for a missing shard, a file shorter than its header says, or another kind of file.
    """
    tensors: dict[str, Stored] = {}
    for file in find_shards(folder):
        reader = _Reader(file)
        for key, entry in read_header(file).items():
            dtype = DTYPES.get(entry["dtype"])
            if dtype is None:
                raise StairError(
                    f"{file}: {key} has the unknown type {entry['dtype']}", hint="update safetensors"
                )
            tensors[key] = Stored(tuple(entry["shape"]), dtype, partial(reader.tensor, key))
    promised = _weight_map(folder) if (folder / INDEX).exists() else {}
    missing = sorted(set(promised) - set(tensors))
    if missing:
        raise StairError(
            f"{folder / INDEX} promises {len(missing)} tensors that no shard has, first {missing[0]}",
            hint=DAMAGED,
        )
    return tensors


def find_shards(folder: Path) -> list[Path]:
    """The files of a folder's model. Raises StairError naming a shard that the index lists and is missing."""
    if (folder / INDEX).exists():
        files = [folder / name for name in sorted(set(_weight_map(folder).values()))]
        for file in files:
            if not file.exists():
                raise StairError(
                    f"{folder} lacks {file.name}, one of {len(files)} shards",
                    hint="fetch or save the folder again",
                )
        return files
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    raise StairError(f"{folder} holds neither {WEIGHTS} nor {INDEX}", hint="is it the folder of a model?")


def read_header(file: Path) -> dict[str, dict[str, Any]]:
    """Name → {dtype, shape, data_offsets} of one file, whose length is checked against it.

    The format: eight bytes of length (little-endian), that much JSON, then the data.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            start = opened.read(64)
            length = int.from_bytes(start[:8], "little")
            if start.startswith(b"version https://git-lfs"):
                raise StairError(
                    f"{file} is a git-lfs pointer, not the weights",
                    hint="git lfs pull in its folder, or tools/fetch-weights",
                )
            if start[8:9] != b"{" or length > 1 << 28:
                raise StairError(f"{file} is no safetensors file", hint=DAMAGED)
            opened.seek(8)
            header = json.loads(opened.read(length)) if 8 + length <= size else None
    except (OSError, ValueError) as error:
        raise StairError(f"cannot read {file}: {error}", hint=DAMAGED) from None
    if header is None:
        raise StairError(f"{file} has {size:,} bytes and ends within its header", hint=DAMAGED)
    header.pop("__metadata__", None)
    expected = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if size != expected:
        raise StairError(f"{file} has {size:,} bytes, its header says {expected:,}", hint=DAMAGED)
    return header


def write_safetensors(
    folder: Path,
    tensors: Mapping[str, Stored],
    *,
    shard_bytes: int = SHARD_BYTES,
    told: Callable[[int], None] = lambda written: None,
) -> None:
    """Writes a model's file, or its shards and their index when it is larger than one shard may be.

    One shard at a time is in memory. `told` hears how many bytes are written so far. Raises OSError or
    safetensors' own error on a full disk; the caller owns the folder and removes what is half-written.
    """
    from safetensors.torch import save_file

    shards = split({key: stored.size for key, stored in tensors.items()}, shard_bytes)
    names = [WEIGHTS] if len(shards) == 1 else [_shard_name(k, len(shards)) for k in range(len(shards))]
    written = 0
    for name, keys in zip(names, shards, strict=True):
        whole = {key: tensors[key].read().detach().cpu().contiguous() for key in keys}
        save_file(whole, folder / name, metadata={"format": "pt"})
        # The library lets only the owner read; whoever may look into the folder may read its files.
        (folder / name).chmod(folder.stat().st_mode & 0o666)
        written += sum(tensors[key].size for key in keys)
        told(written)
    if len(shards) > 1:
        places = {key: name for name, keys in zip(names, shards, strict=True) for key in keys}
        write_json(folder / INDEX, {"metadata": {"total_size": written}, "weight_map": places})


def split(sizes: Mapping[str, int], shard_bytes: int) -> list[list[str]]:
    """Keys dealt out to shards in their order; a tensor larger than a shard gets one of its own."""
    shards: list[list[str]] = [[]]
    filled = 0
    for key, size in sizes.items():
        if shards[-1] and filled + size > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(key)
        filled += size
    return shards


class _Reader:
    """One file, mapped when its first tensor is read."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.handle: Any = None

    def tensor(self, key: str) -> Tensor:
        from safetensors import SafetensorError, safe_open

        try:
            if self.handle is None:
                self.handle = safe_open(self.file, framework="pt")
            return self.handle.get_tensor(key)
        except (OSError, SafetensorError) as error:
            raise StairError(f"cannot read {self.file}: {error}", hint=DAMAGED) from None


def _weight_map(folder: Path) -> dict[str, str]:
    try:
        return dict(json.loads((folder / INDEX).read_text())["weight_map"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StairError(f"cannot read {folder / INDEX}: {error!r}", hint=DAMAGED) from None


def _shard_name(number: int, count: int) -> str:
    return f"model-{number + 1:05d}-of-{count:05d}.safetensors"
