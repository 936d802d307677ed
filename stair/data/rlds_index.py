"""One pass over an RLDS data set: every step's numbers, and where its image lies.

Takes an open folder, hands on an Index, and the key under which it may be kept. The surprise: rows grow in
plain byte buffers, so that millions of steps are never held twice.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np

from stair.console import Progress, say
from stair.data.index import FORMAT, Dropped, Index
from stair.data.rlds import RawEpisode, RldsFolder
from stair.data.standardize import refuse_infinite, standard_of, standardize
from stair.data.statistics import compute_statistics
from stair.errors import StairError


def build_index(folder: RldsFolder, dataset: str, split: str, *, skip_corrupt: bool = False) -> Index:
    """Reads every record of the split once. Raises StairError naming file and record of an episode that is
    broken, or whose numbers or words cannot be meant, unless `skip_corrupt`."""
    standard = standard_of(dataset)
    shards = folder.shards(split)
    corrupt: list[int] = []

    def skip(fault: StairError, episodes: int) -> None:
        say(f"skipped: {fault.what} ({episodes} episodes lost)")
        corrupt.append(episodes)

    kept, unlabelled = _Rows(), _Rows()
    records, words = [], []
    instructions: dict[str, int] = {}
    too_short = 0
    progress = Progress(f"indexing {dataset} {split}", sum(shard.episodes for shard in shards))
    for seen, raw in enumerate(folder.episodes(split, on_corrupt=skip if skip_corrupt else None), 1):
        progress.update(seen)
        try:
            found = standardize(raw, standard)
            count = len(found.actions)
            refuse_infinite(found.actions, found.proprio)
            frames = _frames(raw, standard.image, found.first, count)
        except StairError as error:
            place = f"{shards[raw.shard].path}: record {raw.number}"
            fault = StairError(f"{place}: {error.what}", hint=error.hint)
            if not skip_corrupt:
                raise fault from None
            skip(fault, 1)
            continue
        if not count:
            too_short += 1
        elif not found.instruction:
            unlabelled.add(found.actions, found.proprio, frames)
        else:
            kept.add(found.actions, found.proprio, frames)
            records.append((raw.shard, raw.number))
            words.append(instructions.setdefault(found.instruction, len(instructions)))
    if not words:
        raise StairError(
            f"{folder.folder}: split '{split}' has no usable episode",
            hint=f"{len(unlabelled.lengths)} have no instruction, {too_short} are too short",
        )
    actions, proprio, frames = kept.arrays()
    all_actions, all_proprio = actions, proprio
    if unlabelled.lengths:
        more_actions, more_proprio, _ = unlabelled.arrays()
        all_actions = np.concatenate([actions, more_actions])
        all_proprio = np.concatenate([proprio, more_proprio])
    described = len(words) + len(unlabelled.lengths)
    return Index(
        dataset=dataset,
        files=tuple(str(shard.path) for shard in shards),
        actions=actions,
        proprio=proprio,
        frames=frames,
        starts=np.concatenate([[0], np.cumsum(kept.lengths)]),
        records=np.array(records, np.int64),
        words=np.array(words, np.int32),
        instructions=tuple(instructions),
        dropped=Dropped(len(unlabelled.lengths), too_short, sum(corrupt)),
        everything=compute_statistics(all_actions, all_proprio, standard.action_mask, described + too_short),
    )


class _Rows:
    """Actions, proprio and frames of many episodes; they grow in place, so that millions of steps are never
    held twice."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.widths: tuple[int, ...] = ()
        self.buffers = (bytearray(), bytearray(), bytearray())

    def add(self, *columns: np.ndarray) -> None:
        """One episode: actions and proprio float32, frames int64, [N, ...] each."""
        self.lengths.append(len(columns[0]))
        self.widths = tuple(column.shape[1] for column in columns)
        for buffer, column, kind in zip(
            self.buffers, columns, (np.float32, np.float32, np.int64), strict=True
        ):
            buffer += np.ascontiguousarray(column, kind).data

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All rows; there must be some."""
        actions, proprio, frames = (
            np.frombuffer(buffer, kind).reshape(-1, width)
            for buffer, kind, width in zip(
                self.buffers, (np.float32, np.float32, np.int64), self.widths, strict=True
            )
        )
        return actions, proprio, frames


def _frames(raw: RawEpisode, image: str, first: int, count: int) -> np.ndarray:
    spans = raw.spans(f"steps/{image}").spans[first : first + count]
    if len(spans) < count:
        raise StairError(f"an episode has {len(spans)} images of '{image}' for {count} steps")
    shard = np.full((count, 1), raw.shard, np.int64)
    return np.concatenate([shard, spans[:, :1] + raw.offset, spans[:, 1:]], axis=1)


def key_of(folder: RldsFolder, dataset: str, split: str, skip_corrupt: bool) -> str:
    """Changes whenever the index would."""
    facts: list[object] = [FORMAT, dataset, split, skip_corrupt]
    for shard in folder.shards(split):
        try:
            stat = shard.path.stat()
            facts.append((shard.path.name, shard.episodes, stat.st_size, stat.st_mtime_ns))
        except OSError:
            facts.append((shard.path.name, shard.episodes, None, None))
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
