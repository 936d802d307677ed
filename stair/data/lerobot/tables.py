"""Tables of a LeRobot folder: columns as numpy arrays, and images that lie in a column.

Takes parquet files, hands on float arrays or encoded images. The surprise is what an image in the middle
of a table costs: parquet can only be read by row groups, so the groups used last are kept, up to a
fixed number of bytes.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stair.errors import StairError

KEPT_BYTES = 128 << 20
"""Of encoded images that a process keeps; a row group is commonly 100 rows or one episode, 1-3 MB."""


def parquet() -> Any:
    """pyarrow.parquet. Raises StairError where it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise StairError(
            f"LeRobot data sets need pyarrow: {error}", hint="pip install 'stair-vla[train]', or pyarrow"
        ) from None
    return pyarrow.parquet


def read_columns(path: Path, names: Sequence[str] | None = None) -> Any:
    """A pyarrow table of the named columns, or all. Raises StairError naming file and missing column."""
    library = parquet()
    try:
        file = library.ParquetFile(path)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise StairError(
            f"cannot read {path}: {_first_line(error)}", hint="is it missing, cut, or a git-lfs pointer?"
        ) from None
    with file:
        known = file.schema_arrow.names
        for name in names or ():
            if name not in known:
                raise StairError(f"{path} has no column '{name}'", hint=f"it has {', '.join(known)}")
        try:
            return file.read(columns=None if names is None else list(names), use_threads=False)
        except (OSError, ValueError) as error:
            raise StairError(f"cannot read {path}: {_first_line(error)}", hint="is it complete?") from None


def integers(table: Any, name: str, path: Path) -> np.ndarray:
    """A column of single numbers, int64 [rows]."""
    return _matrix(table, name, path)[:, 0].astype(np.int64)


def floats(table: Any, name: str, path: Path) -> np.ndarray:
    """A column of numbers or of lists of equal length, float32 [rows, width]."""
    return _matrix(table, name, path).astype(np.float32)


def _matrix(table: Any, name: str, path: Path) -> np.ndarray:
    column = table.column(name).combine_chunks()
    rows, nested = len(column), column.type.num_fields > 0
    values = column.flatten() if nested else column
    if column.null_count or values.null_count or not rows or len(values) % rows:
        raise StairError(
            f"{path}: '{name}' has {len(values)} numbers in {rows} rows, "
            f"{column.null_count + values.null_count} missing",
            hint="expected as many in every row",
        )
    try:
        return values.to_numpy(zero_copy_only=False).reshape(rows, -1)
    except (TypeError, ValueError):
        raise StairError(f"{path}: '{name}' is {column.type}", hint="expected numbers") from None


class TableFrames:
    """Images in a column of `files`, struct<bytes, path>; safe to hand to forked workers."""

    def __init__(self, files: Sequence[str], column: str) -> None:
        self.files, self.column = files, column
        self.groups: OrderedDict[tuple[int, int], list[bytes]] = OrderedDict()
        self.bytes = 0
        self.firsts: dict[int, np.ndarray] = {}
        """First row of every row group, by file."""
        self.process = os.getpid()

    def expect(self, frames: np.ndarray) -> None:
        """Nothing to prepare: a clip's rows lie in one or two groups, which are kept."""

    def read(self, file: int, row: int, _: int) -> bytes:
        """The encoded image of a row. Raises StairError naming file and row."""
        if self.process != os.getpid():  # what the parent kept is not this process's to account for
            self.groups, self.bytes, self.process = OrderedDict(), 0, os.getpid()
        if file not in self.firsts:
            metadata = self._open(file).metadata
            sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
            self.firsts[file] = np.concatenate([[0], np.cumsum(sizes)])
        firsts = self.firsts[file]
        if row >= firsts[-1]:
            raise StairError(
                f"{self.files[file]} has {firsts[-1]} rows, not row {row}",
                hint="did the data set change while it was in use?",
            )
        group = int(np.searchsorted(firsts, row, side="right")) - 1
        return self._group(file, group)[row - int(firsts[group])]

    def _group(self, file: int, group: int) -> list[bytes]:
        if (file, group) in self.groups:
            self.groups.move_to_end((file, group))
            return self.groups[file, group]
        opened = self._open(file)
        column = opened.read_row_group(group, columns=[self.column], use_threads=False).column(self.column)
        rows = column.to_pylist()
        images: list[bytes] = [row["bytes"] for row in rows if row and row["bytes"] is not None]
        if len(images) < len(rows):
            raise StairError(
                f"{self.files[file]}: '{self.column}' names image files instead of holding them",
                hint="STAIR reads images as bytes in the table, or videos; lerobot can embed them",
            )
        self.groups[file, group] = images
        self.bytes += sum(map(len, images))
        while self.bytes > KEPT_BYTES and len(self.groups) > 1:
            self.bytes -= sum(map(len, self.groups.popitem(last=False)[1]))
        return images

    def _open(self, file: int) -> Any:
        try:
            return parquet().ParquetFile(self.files[file])
        except (OSError, ValueError) as error:
            raise StairError(
                f"cannot read {self.files[file]}: {_first_line(error)}",
                hint="did the data set change or disappear while it was in use?",
            ) from None


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
