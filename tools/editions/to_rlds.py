"""LeRobot becomes RLDS, in a form that says of itself that it is standardised.

Takes a LeRobot folder, hands on a TFDS version folder. Its episodes carry `episode_metadata/standard` =
`standardised`, described in features.json, by which stair/data/standardize.py takes action and state as they
are instead of deriving them as it does for the data set's original. Only what training reads is written: the
primary camera, state, action, words. The surprise: episodes are staged one by one and joined to shards at the
end, since a shard that is being written cannot be gone on with.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from stair.console import Progress
from stair.data.config import LeRobotConfig
from stair.data.example import encode_example
from stair.data.frames import Frames, open_frames
from stair.data.index import Index
from stair.data.lerobot.index import LeRobotSource
from stair.data.lerobot.pack import groups
from stair.data.lerobot.writer import QUALITY, hold, work_folder
from stair.data.rlds_features import (
    FILE_TEMPLATE,
    Features,
    features_tree,
    image,
    info_tree,
    shard_name,
    tensor,
    text,
)
from stair.data.rlds_writer import VERSION, encode_image
from stair.data.standardize import STANDARDISED, STANDARDS, standard_of
from stair.data.tfrecord import frame
from stair.data.transforms import decode_image
from stair.errors import StairError, UsageError
from stair.rundir import write_whole
from tools.editions.edition import Edition, Room, folder_bytes

SHARD_BYTES = 200 << 20
"""Of a shard, about, as TFDS likes them."""
SETTINGS, PLAN = "settings.json", "shards.json"


def convert(
    source: Path,
    target: Path,
    *,
    dataset: str = "",
    split: str = "train",
    codec: str = "png",
    config: LeRobotConfig | None = None,
    episodes: int | None = None,
) -> Edition:
    """Writes TARGET. Raises StairError for a source that cannot be read, or a disk that is too small."""
    source, target = Path(source).absolute(), Path(target)
    dataset = dataset or name_of(source)
    if dataset not in STANDARDS:
        raise UsageError(
            f"RLDS data sets are read by name, and nobody knows '{dataset}'",
            hint=f"--name, one of {', '.join(STANDARDS)}",
        )
    if target.exists():
        raise StairError(f"{target} exists", hint="remove it, or write under another name")
    index = LeRobotSource.open(source, dataset, split, config or LeRobotConfig(), False).build()
    count = min(index.episodes, episodes or index.episodes)
    work = work_folder(target)
    settings = {"source": str(source), "split": split, "codec": codec, "dataset": dataset, "episodes": count}
    with _begun(work, settings):
        reader = open_frames(index)
        room = Room(target, count)
        staged = [work / f"episode-{number:06d}.record" for number in range(count)]
        todo = [] if (work / PLAN).exists() else [n for n, path in enumerate(staged) if not path.exists()]
        progress = Progress(f"{dataset} to RLDS", count)
        progress.resume_at(count - len(todo))
        size = (0, 0)
        for nth, number in enumerate(todo, 1):
            columns, size = _columns(index, reader, number, standard_of(dataset).image, codec)
            record = frame(encode_example(columns))
            _write_record(staged[number], record)
            room.wrote(len(record), len(todo) - nth)
            progress.update(count - len(todo) + nth)
        size = size if size[0] else _read_size(index, reader)
        _finish(work, target, dataset, split, staged, _features(dataset, index, size), codec)
    steps = int(index.starts[count])
    left_out = {name.replace("_", " "): lost for name, lost in vars(index.dropped).items()}
    return Edition(f"RLDS, {codec}", count, steps, folder_bytes(target), left_out)


def name_of(source: Path) -> str:
    """The data set of a LeRobot folder: its name without version and `_lerobot`."""
    name = source.name.removesuffix("_lerobot")
    for dataset, standard in STANDARDS.items():
        if name in (dataset, f"{dataset}_{standard.version}"):
            return dataset
    return name


@contextmanager
def _begun(work: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """The folder of an unfinished data set, begun or gone on with, for this process alone inside."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock = open(work / ".lock", "w")  # noqa: SIM115
    except OSError as error:
        raise StairError(f"cannot write {work}: {error.strerror}", hint="is it writable?") from None
    with lock:
        hold(lock, work)
        _keep_settings(work, settings)
        yield


def _keep_settings(work: Path, settings: Mapping[str, Any]) -> None:
    try:
        kept = work / SETTINGS
        if not kept.is_file():
            write_whole(kept, json.dumps(settings))
        elif (earlier := json.loads(kept.read_text())) != settings:
            name = next(name for name in settings if settings[name] != earlier.get(name))
            raise StairError(
                f"{work} was begun with {name} {earlier.get(name)!r}, not {settings[name]!r}",
                hint=f"the same again to go on, or rm -r {work}",
            )
    except OSError as error:
        raise StairError(f"cannot write {work}: {error.strerror}", hint="is it writable?") from None


def _columns(
    index: Index, reader: Frames, number: int, camera: str, codec: str
) -> tuple[dict[str, Sequence[bytes] | np.ndarray], tuple[int, int]]:
    """An episode as it lies on disk, and the height and width of its pictures."""
    episode = index.episode(number)
    reader.expect(episode.frames)
    found = [reader.read(*row) for row in episode.frames.tolist()]
    images = [one if isinstance(one, bytes) else encode_image(one, codec, QUALITY) for one in found]
    shape = (decode_image(found[0]) if isinstance(found[0], bytes) else found[0]).shape
    length = len(images)
    last = np.arange(length) == length - 1
    columns: dict[str, Sequence[bytes] | np.ndarray] = {
        f"steps/{camera}": images,
        "steps/observation/state": episode.proprio,
        "steps/action": episode.actions,
        "steps/language_instruction": [episode.instruction.encode()] * length,
        "steps/reward": last.astype(np.float32),
        "steps/discount": np.ones(length, np.float32),
        "steps/is_first": np.arange(length) == 0,
        "steps/is_last": last,
        "steps/is_terminal": last,
        "episode_metadata/episode_id": index.records[number, 1:],
        "episode_metadata/file_path": [episode.key.encode()],
        "episode_metadata/standard": [STANDARDISED.encode()],
    }
    return columns, (shape[0], shape[1])


def _features(dataset: str, index: Index, size: tuple[int, int]) -> Features:
    steps = {
        standard_of(dataset).image: image(*size, "Camera RGB."),
        "observation/state": tensor(index.proprio.shape[1], description="As standardised: see standard."),
        "action": tensor(7, description="Delta xyz (m), delta roll, pitch, yaw (rad), gripper (1 = open)."),
        "language_instruction": text("What the robot is to do."),
        "reward": tensor(description="1 on the final step."),
        "discount": tensor(description="1."),
        "is_first": tensor(dtype="bool"),
        "is_last": tensor(dtype="bool"),
        "is_terminal": tensor(dtype="bool"),
    }
    told = (
        f"'{STANDARDISED}': action and state are taken as they are, not derived as in the original data set."
    )
    metadata = {"episode_id": tensor(dtype="int32"), "file_path": text(), "standard": text(told)}
    return Features(steps, metadata)


def _read_size(index: Index, reader: Frames) -> tuple[int, int]:
    """Of the first picture, when every episode was staged by an earlier run."""
    found = reader.read(*index.frames[0].tolist())
    shape = (decode_image(found) if isinstance(found, bytes) else found).shape
    return shape[0], shape[1]


def _write_record(path: Path, record: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(record)
        partial.rename(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StairError(f"cannot write {path}: {error.strerror}", hint="is the disk full?") from None


def _finish(
    work: Path, target: Path, dataset: str, split: str, staged: Sequence[Path], features: Features, codec: str
) -> None:
    """Joins the staged episodes to shards in their order, and gives the folder its name."""
    try:
        plan = work / PLAN
        if not plan.exists():
            sizes = [path.stat().st_size for path in staged]
            write_whole(plan, json.dumps({"sizes": sizes, "shards": groups(sizes, SHARD_BYTES)}))
        kept = json.loads(plan.read_text())
        lengths = [end - first for first, end in kept["shards"]]
        for nth, (first, end) in enumerate(kept["shards"]):
            path = work / shard_name(FILE_TEMPLATE, dataset, split, nth, len(lengths))
            if not path.exists():
                partial = path.with_name(f".{path.name}")
                with open(partial, "wb") as shard:
                    for part in staged[first:end]:
                        with open(part, "rb") as record:
                            shutil.copyfileobj(record, shard)
                partial.rename(path)
            for part in staged[first:end]:
                part.unlink(missing_ok=True)
        version = target.name if target.name[:1].isdigit() else VERSION
        payload = sum(kept["sizes"]) - 16 * len(staged)  # without the records' frames
        info = info_tree(dataset, version, {split: (lengths, payload)})
        info["description"] = f"{info['description']} Standardised: see episode_metadata/standard."
        write_whole(work / "features.json", json.dumps(features_tree(features, codec), indent=2))
        write_whole(work / "dataset_info.json", json.dumps(info, indent=2))
        for cut in work.glob(".*"):
            cut.unlink()
        work.rename(target)
        for name in (SETTINGS, PLAN):
            (target / name).unlink()
    except OSError as error:
        raise StairError(f"cannot write {target}: {error.strerror}", hint="is the disk full?") from None
