"""Where every step of a data set lies: one pass over the files, then never again.

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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stair.console import Progress, say
from stair.data.rlds import RawEpisode, RldsFolder
from stair.data.sample import Episode
from stair.data.standardize import dataset_folder, standard_of
from stair.errors import StairError

FORMAT = 1
"""Counted up when the arrays or a standardisation change their meaning."""


@dataclass(frozen=True)
class Dropped:
    """Episodes that are in the files but not in the index."""

    unlabelled: int = 0
    """Nobody said what they show."""
    too_short: int = 0
    """Nothing remains after standardisation."""
    corrupt: int = 0
    """Broken or missing records, left out because of `skip_corrupt`."""


@dataclass(frozen=True)
class Index:
    """A split of M steps in E episodes, in the order of the files."""

    dataset: str
    files: tuple[str, ...]
    actions: np.ndarray
    """float32 [M, 7]: physical"""
    proprio: np.ndarray
    """float32 [M, 7]: physical"""
    frames: np.ndarray
    """int64 [M, 3]: number of the file, byte offset and length of the primary camera's image"""
    starts: np.ndarray
    """int64 [E + 1]: episode e is rows starts[e] ... starts[e + 1] - 1"""
    records: np.ndarray
    """int64 [E, 2]: number of the file, and of the record in it"""
    words: np.ndarray
    """int32 [E]: number of the instruction"""
    instructions: tuple[str, ...]
    dropped: Dropped

    @property
    def episodes(self) -> int:
        return len(self.words)

    @property
    def numbers(self) -> np.ndarray:
        """int64 [E]: when each episode was written, as RldsWriter deals them out to its shards in turn."""
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


def open_index(root: Path | str, dataset: str, split: str, *, skip_corrupt: bool = False) -> Index:
    """The index of ROOT/DATASET/VERSION, from its cache when the files are still the same.

    Several processes that come at once build it once, where the file system can lock. Raises StairError
    for missing folders and, unless `skip_corrupt`, broken records; what was skipped is said on stderr.
    """
    folder = RldsFolder.open(dataset_folder(root, dataset))
    key = _key(folder, dataset, split, skip_corrupt)
    for cache in _cache_files(folder.folder, dataset, split):
        if (index := _load(cache, key, folder, dataset, split)) is not None:
            return _told(index)
    for cache in _cache_files(folder.folder, dataset, split):
        with contextlib.suppress(OSError), _locked(cache):
            index = _load(cache, key, folder, dataset, split)
            if index is None:
                index = build_index(folder, dataset, split, skip_corrupt=skip_corrupt)
                _save(cache, key, index)
            return _told(index)
    return _told(build_index(folder, dataset, split, skip_corrupt=skip_corrupt))


def build_index(folder: RldsFolder, dataset: str, split: str, *, skip_corrupt: bool = False) -> Index:
    """Reads every record of the split once."""
    standard = standard_of(dataset)
    shards = folder.shards(split)
    corrupt: list[int] = []

    def skip(fault: StairError, episodes: int) -> None:
        say(f"skipped: {fault.what} ({episodes} episodes lost)")
        corrupt.append(episodes)

    columns: dict[str, list[np.ndarray]] = {"actions": [], "proprio": [], "frames": []}
    records, words = [], []
    instructions: dict[str, int] = {}
    unlabelled = too_short = 0
    progress = Progress(f"indexing {dataset} {split}", sum(shard.episodes for shard in shards))
    for seen, raw in enumerate(folder.episodes(split, on_corrupt=skip if skip_corrupt else None), 1):
        progress.update(seen)
        try:
            standardized = standard.apply(raw)
            count = len(standardized.actions)
            frames = _frames(raw, standard.image, standardized.first, count)
        except StairError as error:
            place = f"{shards[raw.shard].path}: record {raw.number}"
            raise StairError(f"{place}: {error.what}", hint=error.hint) from None
        if not standardized.instruction:
            unlabelled += 1
        elif not count:
            too_short += 1
        else:
            columns["actions"].append(standardized.actions)
            columns["proprio"].append(standardized.proprio)
            columns["frames"].append(frames)
            records.append((raw.shard, raw.number))
            words.append(instructions.setdefault(standardized.instruction, len(instructions)))
    if not words:
        raise StairError(
            f"{folder.folder}: split '{split}' has no usable episode",
            hint=f"{unlabelled} have no instruction, {too_short} are too short",
        )
    lengths = [len(actions) for actions in columns["actions"]]
    return Index(
        dataset=dataset,
        files=tuple(str(shard.path) for shard in shards),
        **{name: np.concatenate(parts) for name, parts in columns.items()},
        starts=np.concatenate([[0], np.cumsum(lengths)]),
        records=np.array(records, np.int64),
        words=np.array(words, np.int32),
        instructions=tuple(instructions),
        dropped=Dropped(unlabelled, too_short, sum(corrupt)),
    )


def _frames(raw: RawEpisode, image: str, first: int, count: int) -> np.ndarray:
    spans = raw.spans(f"steps/{image}").spans[first : first + count]
    if len(spans) < count:
        raise StairError(f"an episode has {len(spans)} images of '{image}' for {count} steps")
    shard = np.full((count, 1), raw.shard, np.int64)
    return np.concatenate([shard, spans[:, :1] + raw.offset, spans[:, 1:]], axis=1)


def _told(index: Index) -> Index:
    dropped = {name: count for name, count in vars(index.dropped).items() if count}
    if dropped:
        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in dropped.items())
        say(f"{index.dataset}: {index.episodes} episodes; left out: {counts}")
    return index


def _key(folder: RldsFolder, dataset: str, split: str, skip_corrupt: bool) -> str:
    """Changes whenever the index would."""
    facts: list[object] = [FORMAT, dataset, split, skip_corrupt]
    for shard in folder.shards(split):
        try:
            stat = shard.path.stat()
            facts.append((shard.path.name, shard.episodes, stat.st_size, stat.st_mtime_ns))
        except OSError:
            facts.append((shard.path.name, shard.episodes, None, None))
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


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


def _save(cache: Path, key: str, index: Index) -> None:
    """Written whole, then renamed; a full disk leaves no half file and costs only the cache."""
    partial = cache.with_name(f".{cache.name}.{os.getpid()}")
    about = {"key": key, "instructions": index.instructions, "dropped": vars(index.dropped)}
    names = ("actions", "proprio", "frames", "starts", "records", "words")
    try:
        with open(partial, "wb") as file:
            header = np.frombuffer(json.dumps(about).encode(), np.uint8)
            np.savez(file, about=header, **{name: getattr(index, name) for name in names})
        partial.replace(cache)
    except OSError as error:
        partial.unlink(missing_ok=True)
        say(f"could not keep the index at {cache}: {error.strerror}")


def _load(cache: Path, key: str, folder: RldsFolder, dataset: str, split: str) -> Index | None:
    """The cached index, or None when there is none for these files."""
    try:
        with np.load(cache, allow_pickle=False) as stored:
            about = json.loads(stored["about"].tobytes())
            if about["key"] != key:
                return None
            arrays = {name: stored[name] for name in stored.files if name != "about"}
            return Index(
                dataset=dataset,
                files=tuple(str(shard.path) for shard in folder.shards(split)),
                **arrays,
                instructions=tuple(about["instructions"]),
                dropped=Dropped(**about["dropped"]),
            )
    except FileNotFoundError:
        return None
    except Exception:  # a damaged cache, whatever its damage, is one to write anew
        return None
