"""With which statistics a run normalises its actions: its own, OpenVLA's, or those of a file.

Takes an index and what was computed of the episodes that are trained on, hands on `Statistics` as
`data.statistics` chooses. The surprise is OpenVLA's choice: it counts every split, validation included, and
episodes that nobody described, so it may read the whole data set once more.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stair.console import say
from stair.data.config import DataConfig
from stair.data.index import Index, open_index
from stair.data.rlds import RldsFolder
from stair.data.statistics import FILE, Statistics, read_statistics
from stair.errors import StairError, UsageError

NOTEWORTHY = 0.01
"""Quantiles that lie further apart, as a share of their range, are told of."""


def choose_statistics(data: DataConfig, index: Index, own: Statistics) -> Statistics:
    """The statistics to normalise a data set with. Raises StairError for files that do not fit."""
    if data.statistics == "training":
        return own
    if data.statistics == "openvla":
        return _openvla(data, index)
    return _given(Path(data.statistics), index.dataset, own)


def _openvla(data: DataConfig, index: Index) -> Statistics:
    if index.everything is None:
        raise UsageError(
            f"{index.dataset} is a LeRobot edition, which has not all the episodes that OpenVLA counts",
            hint="data.statistics FILE, the dataset_statistics.json of an OpenVLA run",
        )
    folder = Path(index.files[0]).parent
    everything = index.everything
    if set(RldsFolder.open(folder).splits) != {data.split} and data.split != "all":
        whole = open_index(
            data.root, index.dataset, "all", skip_corrupt=data.skip_corrupt, format=data.format
        )
        everything = whole.everything or everything
    counts = (everything.num_transitions, everything.num_trajectories)
    for path in sorted(folder.glob("dataset_statistics*.json")):
        found = read_statistics(path)
        beside = found.get(index.dataset) or found.get("")
        if beside is None:
            continue
        if (beside.num_transitions, beside.num_trajectories) == counts:
            say(f"{index.dataset}: normalised with {path}")
            return beside
        say(
            f"{index.dataset}: {path} is of {beside.num_transitions} transitions in "
            f"{beside.num_trajectories} episodes, the data has {counts[0]} in {counts[1]}; not used"
        )
    return everything


def _given(path: Path, dataset: str, own: Statistics) -> Statistics:
    file = path / FILE if path.is_dir() else path
    found = read_statistics(file)
    given = found.get(dataset)
    if given is None:
        raise UsageError(
            f"{file} has no statistics of {dataset}; it has {', '.join(found) or 'none'}",
            hint="data.statistics training, or the file of a run on this mixture",
        )
    width = len(own.action.mask)
    if len(given.action.mask) != width:
        raise StairError(
            f"{file}: actions of {dataset} have {len(given.action.mask)} dimensions, the data's {width}",
            hint="is it the file of another data set?",
        )
    apart, dim = distance(given, own)
    if apart > NOTEWORTHY:
        say(
            f"{dataset}: quantiles of {file} and of this data differ by up to {apart:.1%} of their range "
            f"(action {dim}); right where one goes on from a model that was trained with them"
        )
    return given


def distance(one: Statistics, other: Statistics) -> tuple[float, int]:
    """How far the quantiles of two data sets' actions lie apart at most, as a share of the first one's
    range, and in which dimension."""
    low, high = np.array(one.action.q01), np.array(one.action.q99)
    apart = np.maximum(abs(low - other.action.q01), abs(high - other.action.q99))
    share = apart / np.maximum(high - low, 1e-8)
    share[apart < 1e-8] = 0
    return float(share.max()), int(share.argmax())
