"""A `.pt` file becomes tensors by name, mapped and not read.

Takes a path, hands on the tensors under their keys with wrappers removed. Only tensors and plain containers
are unpickled (`weights_only`), and the file is mapped: 30 GB cost no memory until they are copied. What a
file is, is told from its bytes; names lie.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from stair.errors import StairError
from stair.models.formats.keys import bare
from stair.models.formats.stored import Stored

Kind = Literal["torch", "cut torch", "safetensors", "pickle", "pointer", "page", "empty", "unknown"]

KINDS: dict[Kind, tuple[str, str]] = {
    "cut torch": (
        "begins as a torch file and has no end: it was cut off",
        "fetch it again; tools/fetch-weights goes on where it stopped and checks the hash",
    ),
    "safetensors": (
        "is a safetensors file, not one of torch.save",
        "give the folder it belongs to, as it is",
    ),
    "pickle": (
        "was written by torch before 1.6 and cannot be mapped",
        "torch.save(torch.load(FILE, weights_only=True), NEW) once, then use NEW",
    ),
    "pointer": (
        "is a git-lfs pointer, not the weights",
        "git lfs pull in its folder, or tools/fetch-weights",
    ),
    "page": ("is a text or web page, not weights", "fetch it again with tools/fetch-weights"),
    "empty": ("is empty", "fetch or save it again"),
    "unknown": (
        "is no file of torch.save",
        "expected a .pt with the weights of OpenVLA, CogACT, WoG or STAIR",
    ),
}
"""What a file is instead, and what to do."""


def kind_of(path: Path) -> Kind:
    """What a file is by its first bytes, and for a torch archive by its last.

    Raises StairError if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise StairError(
            f"cannot read {path}: {error.strerror}", hint="check the path and its rights"
        ) from None
    if head.startswith(b"PK\x03\x04"):
        return "torch" if zipfile.is_zipfile(path) else "cut torch"
    if head.startswith(b"version https://git-lfs"):
        return "pointer"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 28:
        return "safetensors"
    if head.startswith(b"\x80"):
        return "pickle"
    if not head:
        return "empty"
    return "page" if head.lstrip()[:1] in (b"<", b"{") else "unknown"


def refuse_other_kinds(path: Path) -> None:
    """Raises StairError when a file is not a whole torch archive, saying what it is instead."""
    kind = kind_of(path)
    if kind != "torch":
        what, hint = KINDS[kind]
        raise StairError(f"{path} ({path.stat().st_size:,} bytes) {what}", hint=hint)


def open_torch_file(path: Path) -> dict[str, Stored]:
    """The tensors of a `.pt`: `{"model": {module: {key: tensor}}}`, or flat with or without `model`.

    Raises StairError for other kinds of file, damaged ones, and such as hold more than tensors.
    """
    refuse_other_kinds(path)
    try:
        tree = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError:
        raise StairError(
            f"{path} holds more than tensors; such a file could run code when it is opened",
            hint="expected plain weights; save the state dict alone",
        ) from None
    except (RuntimeError, OSError, EOFError, KeyError, ValueError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StairError(
            f"cannot read {path}: {line}", hint="the file is damaged: fetch or save it again"
        ) from None
    tensors: dict[str, Stored] = {}
    for key, tensor in _flat(tree):
        if bare(key) in tensors:
            raise StairError(f"{path} holds {bare(key)} twice, once as {key}", hint="which one is meant?")
        tensors[bare(key)] = Stored.of(tensor)
    if not tensors:
        raise StairError(f"{path} holds no tensors", hint="expected {'model': {module: {key: tensor}}}")
    return tensors


def _flat(tree: Any) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the model in a `.pt` by its dotted key; counters and the like are passed over."""
    if isinstance(tree, Mapping) and isinstance(tree.get("model"), Mapping):
        tree = tree["model"]
    stack: list[tuple[str, Any]] = [("", tree)]
    while stack:
        prefix, value = stack.pop()
        if isinstance(value, Tensor):
            yield prefix, value
        elif isinstance(value, Mapping):
            below = [(f"{prefix}.{key}" if prefix else str(key), inner) for key, inner in value.items()]
            stack.extend(reversed(below))
