"""Where every step of a LeRobot data set lies: the same `Index` that RLDS data sets have.

Takes a LeRobot folder, a split and `data.lerobot`, hands on an Index whose frames are frames of videos or
rows of tables. Numbers come from the tables, words from the tasks. The surprise: in 3.0 rows are found by
their own episode_index, because `data/file_index` of converted data sets is wrong at the ends of files, and
LeRobot itself never reads it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stair.console import Progress, say
from stair.data.config import LeRobotConfig
from stair.data.index import FORMAT, Dropped, Index, Storage
from stair.data.lerobot.columns import Columns, decide_columns
from stair.data.lerobot.folder import LeRobotFolder, Stretches
from stair.data.lerobot.tables import floats, integers, read_columns
from stair.data.lerobot.video import check_frames, open_video
from stair.data.standardize import refuse_infinite, spoken
from stair.errors import StairError

STEP_COLUMNS = ("episode_index", "frame_index", "task_index")


@dataclass(frozen=True)
class Stored:
    """The rows of one episode in a table."""

    episode: int
    path: Path
    first: int
    """Row in the table."""
    rows: dict[str, np.ndarray]
    """float32 [N, width] by feature"""
    frame: np.ndarray
    """int64 [N]: frame_index"""
    task: np.ndarray
    """int64 [N]: task_index"""


@dataclass(frozen=True)
class LeRobotSource:
    """One split of a LeRobot data set, ready to be indexed."""

    folder: LeRobotFolder
    dataset: str
    split: str
    columns: Columns
    skip_corrupt: bool

    @staticmethod
    def open(
        place: Path, dataset: str, split: str, config: LeRobotConfig, skip_corrupt: bool
    ) -> LeRobotSource:
        """Raises StairError for a folder that cannot be read, UsageError for columns that cannot be told."""
        folder = LeRobotFolder.open(place)
        return LeRobotSource(folder, dataset, split, decide_columns(folder, dataset, config), skip_corrupt)

    @property
    def key(self) -> str:
        """Changes whenever the index would. Of 100,000 files only the folders are looked at, which change
        when a file comes, goes or is renamed."""
        facts: list[Any] = [FORMAT, self.dataset, self.split, self.skip_corrupt, astuple(self.columns)]
        root = self.folder.folder
        for name in ("meta/*", "meta/episodes/*/*", "data/*", "videos/*", "videos/*/*"):
            for path in sorted(root.glob(name)):
                stat = path.stat()
                facts.append((str(path.relative_to(root)), stat.st_mtime_ns, path.is_file() and stat.st_size))
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def build(self) -> Index:
        """Reads every table once, and the header of every video."""
        wanted = self.folder.chosen(self.split)
        row_of = {int(number): row for row, number in enumerate(self.folder.numbers)}
        left = {int(number) for number in self.folder.numbers[wanted]}
        frames = self._frame_finder()
        parts: dict[str, list[np.ndarray]] = {"actions": [], "proprio": [], "frames": []}
        records: list[tuple[int, int]] = []
        words: list[int] = []
        instructions: dict[str, int] = {}
        unlabelled = too_short = corrupt = 0
        progress = Progress(f"indexing {self.dataset} {self.split}", len(left))
        for found in _stored(self.folder, self.columns.features, sorted(left)):
            number = found.episode if isinstance(found, Stored) else found[0]
            if number not in left:
                continue
            left.discard(number)
            progress.update(int(wanted.sum()) - len(left))
            try:
                if not isinstance(found, Stored):
                    raise found[1]
                checked, text = self._checked(found, int(self.folder.lengths[row_of[number]]))
                checked["frames"] = frames.of(found, row_of[number])
            except StairError as error:
                fault = StairError(f"episode {number}: {error.what}", hint=error.hint)
                if not self.skip_corrupt:
                    raise fault from None
                say(f"skipped: {fault.what}")
                corrupt += 1
                continue
            if not len(checked["actions"]):
                too_short += 1
            elif not text:
                unlabelled += 1
            else:
                for name, column in checked.items():
                    parts[name].append(column)
                records.append((int(checked["frames"][0, 0]), number))
                words.append(instructions.setdefault(text, len(instructions)))
        if left:
            fault = f"{self.folder.folder}: no rows of {len(left)} episodes, the first is {min(left)}"
            if not self.skip_corrupt:
                raise StairError(fault, hint="is the copy of data/ complete?")
            say(f"skipped: {fault}")
            corrupt += len(left)
        if not words:
            raise StairError(
                f"{self.folder.folder}: split '{self.split}' has no usable episode",
                hint=f"{unlabelled} have no instruction, {too_short} no steps, {corrupt} were skipped",
            )
        starts = np.concatenate([[0], np.cumsum([len(rows) for rows in parts["actions"]])])
        return Index(
            dataset=self.dataset,
            files=frames.files,
            actions=np.concatenate(parts["actions"]),
            proprio=np.concatenate(parts["proprio"]),
            frames=np.concatenate(parts["frames"]),
            starts=starts,
            records=np.array(records, np.int64),
            words=np.array(words, np.int32),
            instructions=tuple(instructions),
            dropped=Dropped(unlabelled, too_short, corrupt),
            storage=frames.storage,
        )

    def _checked(self, found: Stored, length: int) -> tuple[dict[str, np.ndarray], str]:
        """Actions and proprio of an episode, and its words."""
        if len(found.frame) != length or (found.frame != np.arange(length)).any():
            raise StairError(
                f"{found.path} has {len(found.frame)} rows with frame_index "
                f"{found.frame.min(initial=0)} to {found.frame.max(initial=0)}, meta says {length} steps",
                hint="expected 0, 1, ... in order; fetch this table and meta again",
            )
        actions, proprio = self.columns.actions(found.rows), self.columns.proprio(found.rows)
        try:
            refuse_infinite(actions, proprio)
            texts = [self.folder.tasks[task].strip() for task in dict.fromkeys(found.task.tolist())]
            text = next((spoken(text) for text in texts if text), "")
        except KeyError as error:
            raise StairError(
                f"{found.path}: task_index {error} is not among the {len(self.folder.tasks)} of meta/tasks",
                hint="fetch meta again",
            ) from None
        except StairError as error:
            raise StairError(f"{found.path}: {error.what}", hint=error.hint) from None
        return {"actions": actions, "proprio": proprio}, text

    def _frame_finder(self) -> _InVideos | _InTables:
        camera = self.columns.camera
        if self.folder.cameras[camera] == "video":
            return _InVideos(self.folder.stretches(camera), self.folder.fps)
        return _InTables(camera)


class _InVideos:
    """Frames are frames of videos, whose headers are read as they come up."""

    def __init__(self, stretches: Stretches, fps: float) -> None:
        self.stretches, self.files = stretches, stretches.files
        self.storage = Storage("video", fps=fps)
        self.faults: dict[int, StairError | None] = {}

    def of(self, found: Stored, row: int) -> np.ndarray:
        """int64 [N, 3] of the episode in this row of the folder's arrays."""
        file, first = int(self.stretches.file[row]), int(self.stretches.first[row])
        frames = int(self.stretches.frames[file])
        if file not in self.faults:
            self.faults[file] = self._fault(file, frames)
        if (fault := self.faults[file]) is not None:
            raise StairError(fault.what, hint=fault.hint)
        count = len(found.frame)
        return np.stack([np.full(count, file), first + np.arange(count), np.full(count, frames)], axis=1)

    def _fault(self, file: int, frames: int) -> StairError | None:
        try:
            video = open_video(self.files[file], self.storage.fps)
            try:
                check_frames(self.files[file], video, frames)
            finally:
                video.close()
        except StairError as error:
            return error
        return None


class _InTables:
    """Frames are rows of the tables."""

    def __init__(self, camera: str) -> None:
        self.storage = Storage("column", column=camera)
        self.numbers: dict[str, int] = {}

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(self.numbers)

    def of(self, found: Stored, row: int) -> np.ndarray:
        """int64 [N, 3] of the episode's rows."""
        file = self.numbers.setdefault(str(found.path), len(self.numbers))
        count = len(found.frame)
        return np.stack(
            [np.full(count, file), found.first + np.arange(count), np.zeros(count)], axis=1
        ).astype(np.int64)


def _stored(
    folder: LeRobotFolder, features: tuple[str, ...], episodes: list[int]
) -> Iterator[Stored | tuple[int, StairError]]:
    """Every episode's rows; for a table of one episode that cannot be read its number and why."""
    if folder.version == "v3.0":
        for path in folder.tables():
            yield from _episodes_of(path, features)
        return
    for episode in episodes:
        try:
            yield from _episodes_of(folder.table(episode), features)
        except StairError as error:
            yield episode, error


def _episodes_of(path: Path, features: tuple[str, ...]) -> Iterator[Stored]:
    table = read_columns(path, [*STEP_COLUMNS, *features])
    if not table.num_rows:
        return
    episode, frame, task = (integers(table, name, path) for name in STEP_COLUMNS)
    rows = {name: floats(table, name, path) for name in features}
    firsts = np.concatenate([[0], np.flatnonzero(np.diff(episode)) + 1, [len(episode)]])
    for first, end in zip(firsts[:-1].tolist(), firsts[1:].tolist(), strict=True):
        piece = slice(first, end)
        columns = {name: values[piece] for name, values in rows.items()}
        yield Stored(int(episode[first]), path, first, columns, frame[piece], task[piece])
