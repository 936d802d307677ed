"""What a LeRobot folder says of itself, versions 2.0, 2.1 and 3.0 alike.

Takes a folder with meta/info.json, hands on a `LeRobotFolder`: features, episodes, tasks, and where the
frames of a camera lie. No table of steps and no video is opened here. The surprise is 3.0: there an
episode is a stretch of a video that many share, given by timestamps, which become frame numbers here.

    2.x  data/chunk-000/episode_000007.parquet   videos/chunk-000/CAMERA/episode_000007.mp4
         meta/{info.json, episodes.jsonl, tasks.jsonl, stats.json or (2.1) episodes_stats.jsonl}
    3.0  data/chunk-000/file-000.parquet         videos/CAMERA/chunk-000/file-000.mp4
         meta/{info.json, tasks.parquet, stats.json, episodes/chunk-000/file-000.parquet}
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stair.data.lerobot.find import MARK
from stair.errors import StairError, unknown

VERSIONS = ("v2.0", "v2.1", "v3.0")
FETCH = "fetch the data set again, or tell its author"


@dataclass(frozen=True)
class Stretches:
    """Where a camera's frames of every episode lie: `first` of `files[file]`, as many as the episode has."""

    files: tuple[str, ...]
    file: np.ndarray
    """int64 [E]"""
    first: np.ndarray
    """int64 [E]: number of the episode's first frame in its file"""
    frames: np.ndarray
    """int64 [files]: how many frames each file must have"""


@dataclass(frozen=True)
class LeRobotFolder:
    """A LeRobot data set on disk; arrays run over its episodes in order of their numbers."""

    folder: Path
    version: str
    fps: float
    features: Mapping[str, Mapping[str, Any]]
    """By name: dtype, shape, names."""
    numbers: np.ndarray
    """int64 [E]: episode_index"""
    lengths: np.ndarray
    """int64 [E]"""
    tasks: Mapping[int, str]
    """Instruction by task_index."""
    splits: Mapping[str, tuple[int, int]]
    """First episode number, and the one after the last."""
    modality: Mapping[str, Any]
    """meta/modality.json (GR00T, StarVLA), empty when there is none."""
    info: Mapping[str, Any]
    """meta/info.json as it is."""

    @staticmethod
    def open(folder: Path | str) -> LeRobotFolder:
        """Reads the meta folder. Raises StairError when it is missing, incomplete or of another version."""
        folder = Path(folder)
        info = read_json(folder / MARK)
        version = info.get("codebase_version")
        if version not in VERSIONS:
            raise StairError(
                f"{folder / MARK}: codebase_version is {version!r}",
                hint=f"STAIR reads {', '.join(VERSIONS)}; lerobot's own tools convert others",
            )
        modality = folder / "meta" / "modality.json"
        try:
            numbers, lengths = _episodes(folder, version)
            return LeRobotFolder(
                folder=folder,
                version=version,
                fps=float(info["fps"]),
                features=dict(info["features"]),
                numbers=numbers,
                lengths=lengths,
                tasks=_tasks(folder, version),
                splits=_splits(info, numbers),
                modality=read_json(modality) if modality.is_file() else {},
                info=info,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StairError(f"{folder}/meta lacks {error}", hint=FETCH) from None

    @property
    def cameras(self) -> dict[str, str]:
        """Features that are images: name to `video` or `image` (a column of the tables)."""
        kinds = {name: str(feature.get("dtype")) for name, feature in self.features.items()}
        return {name: kind for name, kind in kinds.items() if kind in ("video", "image")}

    def chosen(self, split: str) -> np.ndarray:
        """bool [E]: the episodes of a split; `all` is every one. Raises UsageError for an unknown split."""
        if split == "all":
            return np.ones(len(self.numbers), bool)
        if split not in self.splits:
            raise unknown(f"split of {self.folder}", split, [*self.splits, "all"])
        first, end = self.splits[split]
        return (self.numbers >= first) & (self.numbers < end)

    def table(self, episode: int) -> Path:
        """The table of an episode number, in a 2.x folder."""
        return self.folder / self._path("data_path", episode)

    def tables(self) -> list[Path]:
        """All tables of a 3.0 folder, in order."""
        return sorted((self.folder / "data").glob("*/*.parquet"))

    def stretches(self, camera: str) -> Stretches:
        """Where the videos of a camera are to be. Raises StairError for timestamps that do not fit."""
        if self.version == "v3.0":
            return self._shared_videos(camera)
        files = tuple(
            str(self.folder / self._path("video_path", int(number), camera)) for number in self.numbers
        )
        count = len(files)
        return Stretches(files, np.arange(count), np.zeros(count, np.int64), self.lengths)

    def _path(self, template: str, episode: int, camera: str = "") -> str:
        chunk = episode // int(self.info.get("chunks_size", 1000))
        try:
            return self.info[template].format(episode_chunk=chunk, episode_index=episode, video_key=camera)
        except (KeyError, AttributeError, ValueError) as error:
            raise StairError(f"{self.folder / MARK}: cannot use {template}: {error!r}", hint=FETCH) from None

    def _shared_videos(self, camera: str) -> Stretches:
        keys = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
        columns = _episode_columns(self.folder, [f"videos/{camera}/{key}" for key in keys])
        chunk, number, start, end = (np.array(columns[f"videos/{camera}/{key}"]) for key in keys)
        first = np.rint(start * self.fps).astype(np.int64)
        count = np.rint((end - start) * self.fps).astype(np.int64)
        # A tenth of a frame: timestamps are sums of many durations, but a frame must be meant.
        off = (np.abs(start * self.fps - first) > 0.1) | (count != self.lengths)
        if off.any():
            row = int(np.argmax(off))
            raise StairError(
                f"{self.folder}: episode {self.numbers[row]} is {camera} from {start[row]:.6f} s to "
                f"{end[row]:.6f} s, that is frames {start[row] * self.fps:.2f} to {end[row] * self.fps:.2f} "
                f"at {self.fps:g} fps, and has {self.lengths[row]} steps",
                hint="whole frames, as many as steps; " + FETCH,
            )
        places, file = np.unique(np.stack([chunk, number], 1), axis=0, return_inverse=True)
        file = file.reshape(-1)
        frames = np.bincount(file, weights=self.lengths, minlength=len(places)).astype(np.int64)
        try:
            names = [
                self.info["video_path"].format(video_key=camera, chunk_index=int(c), file_index=int(f))
                for c, f in places
            ]
        except (KeyError, AttributeError, ValueError) as error:
            raise StairError(f"{self.folder / MARK}: cannot use video_path: {error!r}", hint=FETCH) from None
        return Stretches(tuple(str(self.folder / name) for name in names), file, first, frames)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises StairError when it is missing or none."""
    try:
        tree = json.loads(path.read_text())
    except OSError as error:
        raise StairError(
            f"cannot read {path}: {error.strerror}", hint="a LeRobot data set has it; is the copy complete?"
        ) from None
    except ValueError as error:
        raise StairError(f"{path} is no JSON: {error}", hint=FETCH) from None
    if not isinstance(tree, dict):
        raise StairError(f"{path} holds no JSON object", hint=FETCH)
    return tree


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a .jsonl file. Raises StairError naming the line that is none."""
    number = 0
    try:
        with open(path) as file:
            for line in file:
                number += 1
                if line.strip():
                    yield json.loads(line)
    except OSError as error:
        raise StairError(
            f"cannot read {path}: {error.strerror}", hint="a LeRobot data set has it; is the copy complete?"
        ) from None
    except ValueError as error:
        raise StairError(f"{path}: line {number} is no JSON: {error}", hint=FETCH) from None


def _episodes(folder: Path, version: str) -> tuple[np.ndarray, np.ndarray]:
    if version == "v3.0":
        columns = _episode_columns(folder, ["episode_index", "length"])
        numbers, lengths = columns["episode_index"], columns["length"]
    else:
        rows = list(read_json_lines(folder / "meta" / "episodes.jsonl"))
        numbers, lengths = [row["episode_index"] for row in rows], [row["length"] for row in rows]
    order = np.argsort(np.array(numbers, np.int64), kind="stable")
    if version == "v3.0" and (order != np.arange(len(order))).any():
        raise ValueError("an order: meta/episodes is not sorted by episode_index")
    return np.array(numbers, np.int64)[order], np.array(lengths, np.int64)[order]


def _episode_columns(folder: Path, names: list[str]) -> dict[str, list[Any]]:
    from stair.data.lerobot.tables import read_columns

    files = sorted((folder / "meta" / "episodes").glob("*/*.parquet"))
    if not files:
        raise StairError(f"{folder}/meta/episodes has no tables", hint=FETCH)
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for file in files:
        table = read_columns(file, names)
        for name in names:
            columns[name].extend(table.column(name).to_pylist())
    return columns


def _tasks(folder: Path, version: str) -> dict[int, str]:
    if version != "v3.0":
        rows = read_json_lines(folder / "meta" / "tasks.jsonl")
        return {int(row["task_index"]): str(row["task"]) for row in rows}
    from stair.data.lerobot.tables import read_columns

    table = read_columns(folder / "meta" / "tasks.parquet")
    # pandas wrote the words as the index of its table, which has this name in the file.
    words = "task" if "task" in table.column_names else "__index_level_0__"
    pairs = zip(table.column("task_index").to_pylist(), table.column(words).to_pylist(), strict=True)
    return {int(number): str(text) for number, text in pairs}


def _splits(info: Mapping[str, Any], numbers: np.ndarray) -> dict[str, tuple[int, int]]:
    result = {}
    for name, words in (info.get("splits") or {"train": f"0:{int(numbers.max(initial=-1)) + 1}"}).items():
        first, _, end = str(words).partition(":")
        result[name] = (int(first), int(end))
    return result
