"""Where every step of a data set lies: one pass over the files (rlds_index.py, lerobot/index.py), then kept.

Takes a data set folder and a split, hands on an `Index` of flat arrays: standardised actions and proprio,
and shard, offset and length of every step's encoded image. It is kept as one .npz beside the data, or in
the user's cache when that folder is read-only. The surprise: episodes are ranges of rows, not objects, so
that two million steps are a few arrays which worker processes share by forking.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from stair.console import say
from stair.data.config import LeRobotConfig
from stair.data.lerobot.find import Format, find_lerobot
from stair.data.rlds import RldsFolder
from stair.data.sample import Episode
from stair.data.standardize import dataset_folder
from stair.data.statistics import Statistics

FORMAT = 3
"""Counted up when the arrays or a standardisation change their meaning."""


@dataclass(frozen=True)
class Dropped:
    """Episodes that are in the files but not in the index."""

    unlabelled: int = 0
    """Nobody said what they show."""
    too_short: int = 0
    """Nothing remains after standardisation."""
    corrupt: int = 0
    """Broken or missing records, or numbers and words that cannot be meant; left out because of
    `skip_corrupt`."""


@dataclass(frozen=True)
class Storage:
    """How the frames of an index lie in its files."""

    kind: Literal["bytes", "video", "column"] = "bytes"
    """bytes: an encoded image at an offset. video: a frame of a video. column: a row of a table."""
    fps: float = 0.0
    """Of the videos."""
    column: str = ""
    """Of the tables."""


@dataclass(frozen=True)
class Index:
    """A split of M steps in E episodes, in the order of the files."""

    dataset: str
    files: tuple[str, ...]
    actions: np.ndarray
    """float32 [M, 7]: physical"""
    proprio: np.ndarray
    """float32 [M, S]: physical; a pose of 7, or what `Standard.pose` makes one of"""
    frames: np.ndarray
    """int64 [M, 3]: number of the file, byte offset and length of the primary camera's image; for videos
    the frame's number and how many the file has, for tables the row and 0"""
    starts: np.ndarray
    """int64 [E + 1]: episode e is rows starts[e] ... starts[e + 1] - 1"""
    records: np.ndarray
    """int64 [E, 2]: number of the file, and of the record in it"""
    words: np.ndarray
    """int32 [E]: number of the instruction"""
    instructions: tuple[str, ...]
    dropped: Dropped
    storage: Storage = Storage()
    everything: Statistics | None = None
    """Of all episodes of the files, described or not, as OpenVLA takes them; RLDS only."""

    @property
    def episodes(self) -> int:
        return len(self.words)

    @property
    def numbers(self) -> np.ndarray:
        """int64 [E]: when each episode was written, as RldsWriter deals them out to its shards in turn;
        LeRobot says it."""
        if self.storage.kind != "bytes":
            return self.records[:, 1]
        return self.records[:, 1] * len(self.files) + self.records[:, 0]

    def __len__(self) -> int:
        return len(self.actions)

    def episode(self, number: int) -> Episode:
        """One episode as a value, for tools and tests."""
        rows = slice(self.starts[number], self.starts[number + 1])
        file, record = self.records[number]
        key = f"{Path(self.files[file]).name}#{record}"
        words = self.instructions[self.words[number]]
        return Episode(self.dataset, key, self.actions[rows], self.proprio[rows], words, self.frames[rows])


def open_index(
    root: Path | str,
    dataset: str,
    split: str,
    *,
    skip_corrupt: bool = False,
    format: Format = "auto",
    lerobot: LeRobotConfig | None = None,
) -> Index:
    """The index of a data set below ROOT, from its cache when the files are still the same.

    Several processes that come at once build it once, where the file system can lock. Raises StairError
    for missing folders and, unless `skip_corrupt`, broken records; what was skipped is said on stderr.
    """
    if (place := find_lerobot(root, dataset, format)) is not None:
        from stair.data.lerobot.index import LeRobotSource  # needs pyarrow

        source = LeRobotSource.open(place, dataset, split, lerobot or LeRobotConfig(), skip_corrupt)
        return kept_index(place, dataset, split, source.key, source.build)
    from stair.data import rlds_index

    folder = RldsFolder.open(dataset_folder(root, dataset))
    key = rlds_index.key_of(folder, dataset, split, skip_corrupt)
    return kept_index(
        folder.folder,
        dataset,
        split,
        key,
        lambda: rlds_index.build_index(folder, dataset, split, skip_corrupt=skip_corrupt),
    )


def kept_index(folder: Path, dataset: str, split: str, key: str, build: Callable[[], Index]) -> Index:
    """The index that is kept for FOLDER under `key`, else what `build` makes, kept from then on."""
    for cache in _cache_files(folder, dataset, split):
        if (index := _load(cache, key, folder, dataset)) is not None:
            return _told(index)
    for cache in _cache_files(folder, dataset, split):
        with contextlib.suppress(OSError), _locked(cache):
            index = _load(cache, key, folder, dataset)
            if index is None:
                index = build()
                _save(cache, key, folder, index)
            return _told(index)
    return _told(build())


def _told(index: Index) -> Index:
    dropped = {name: count for name, count in vars(index.dropped).items() if count}
    if dropped:
        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in dropped.items())
        say(f"{index.dataset}: {index.episodes} episodes; left out: {counts}")
    return index


def _cache_files(folder: Path, dataset: str, split: str) -> tuple[Path, Path]:
    """Beside the data, else in the user's cache under a name that tells folders apart."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stair"
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    return folder / f"stair-index-{split}.npz", home / f"index-{dataset}-{split}-{place}.npz"


@contextlib.contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """Holds the cache's lock file; raises OSError where the folder is read-only. A file system without
    locks lets two processes build the same index, which costs time and nothing else."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    if not cache.parent.stat().st_mode & 0o222:  # means it, though it would not stop root
        raise PermissionError(f"{cache.parent} is read-only")
    with open(cache.with_name(f".{cache.stem}.lock"), "w") as lock:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _save(cache: Path, key: str, folder: Path, index: Index) -> None:
    """Written whole, then renamed; a full disk leaves no half file and costs only the cache."""
    partial = cache.with_name(f".{cache.name}.{os.getpid()}")
    about = {
        "key": key,
        "files": [os.path.relpath(file, folder) for file in index.files],
        "instructions": index.instructions,
        "dropped": vars(index.dropped),
        "storage": vars(index.storage),
        "everything": index.everything and index.everything.to_json(),
    }
    names = ("actions", "proprio", "frames", "starts", "records", "words")
    try:
        with open(partial, "wb") as file:
            header = np.frombuffer(json.dumps(about).encode(), np.uint8)
            np.savez(file, about=header, **{name: getattr(index, name) for name in names})
        partial.replace(cache)
    except OSError as error:
        partial.unlink(missing_ok=True)
        say(f"could not keep the index at {cache}: {error.strerror}")


def _load(cache: Path, key: str, folder: Path, dataset: str) -> Index | None:
    """The cached index, or None when there is none for these files."""
    try:
        with np.load(cache, allow_pickle=False) as stored:
            about = json.loads(stored["about"].tobytes())
            if about["key"] != key:
                return None
            arrays = {name: stored[name] for name in stored.files if name != "about"}
            return Index(
                dataset=dataset,
                files=tuple(str(folder / file) for file in about["files"]),
                **arrays,
                instructions=tuple(about["instructions"]),
                dropped=Dropped(**about["dropped"]),
                storage=Storage(**about["storage"]),
                everything=about["everything"] and Statistics.from_json(about["everything"]),
            )
    except FileNotFoundError:
        return None
    except Exception:  # a damaged cache, whatever its damage, is one to write anew
        return None
