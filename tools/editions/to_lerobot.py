"""RLDS becomes LeRobot, standardised as the published LeRobot editions of Open X-Embodiment are.

Takes an RLDS version folder, hands on a LeRobot folder: actions are relative motions with gripper 1 = open,
states are OpenVLA's (Bridge: x y z roll pitch yaw pad gripper; Fractal: x y z, a quaternion, gripper), steps
that standardisation drops are gone. The surprise: unlabelled episodes stay, with an empty task, as they do
in the published ones; whoever reads leaves them out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from stair.console import Progress
from stair.data.lerobot.columns import EDITIONS, EULER, STATE
from stair.data.lerobot.writer import (
    Codec,
    LeRobotSettings,
    LeRobotWriter,
    table_path,
    video_path,
)
from stair.data.rlds import RawEpisode, RldsFolder
from stair.data.standardize import Standardized, refuse_infinite, standard_of, standardize
from stair.data.transforms import decode_image
from stair.errors import StairError, UsageError
from tools.editions.edition import Edition, Room, folder_bytes

KNOWN = {
    "bridge_orig": (5.0, "widowx"),
    "fractal20220817_data": (3.0, "google_robot"),
    "tabletop": (5.0, "tabletop"),
}
"""Steps a second and robot of a data set."""


def convert(
    source: Path,
    target: Path,
    *,
    dataset: str = "",
    split: str = "train",
    version: str = "v2.1",
    codec: Codec = "av1",
    fps: float | None = None,
    episodes: int | None = None,
) -> Edition:
    """Writes TARGET. Raises StairError for a source that cannot be read, or a disk that is too small."""
    folder = RldsFolder.open(source)
    dataset = dataset or Path(source).absolute().parent.name
    standard_of(dataset)  # known, or refused
    total = sum(shard.episodes for shard in folder.shards(split))
    usable = _usable(folder, dataset, split)
    first = next(usable, None)
    if first is None:
        raise StairError(f"{source}: split '{split}' has no episode to write", hint="another --split")
    raw, standardized = first
    cameras = _cameras(raw)
    settings = LeRobotSettings(
        version=version,
        fps=fps or KNOWN.get(dataset, (0.0, ""))[0],
        robot_type=KNOWN.get(dataset, (0.0, "unknown"))[1],
        numbers={STATE: _state_names(dataset, standardized), "action": EULER},
        cameras={_feature(name): decode_image(raw.spans(f"steps/{name}")[0]).shape[:2] for name in cameras},
        codec=codec,
        origin=f"{folder.name} {split}, {total} episodes",
    )
    if not settings.fps:
        raise UsageError(f"nobody knows how many steps a second {dataset} has", hint="--fps NUMBER")
    writer = LeRobotWriter(target, settings)
    before = writer.done
    room = Room(Path(target), total)
    progress = Progress(f"{dataset} to LeRobot {version}", min(total, episodes or total))
    progress.resume_at(before)
    seen = 0
    for number, (raw, standardized) in enumerate(_again(first, usable)):
        if episodes is not None and number >= episodes:
            break
        seen += 1
        if number < before:
            continue
        _write(writer, raw, standardized, cameras)
        room.wrote(_bytes(writer, number), min(total, episodes or total) - seen)
        progress.update(number + 1)
    steps, written = writer.records.steps, writer.done
    writer.close()
    short = total - seen if episodes is None else 0
    return Edition(
        f"LeRobot {version}, {codec}", written, steps, folder_bytes(Path(target)), {"too short": short}
    )


def _usable(folder: RldsFolder, dataset: str, split: str) -> Iterator[tuple[RawEpisode, Standardized]]:
    """Episodes of which a step remains."""
    standard, shards = standard_of(dataset), folder.shards(split)
    for raw in folder.episodes(split):
        try:
            standardized = standardize(raw, standard)
            refuse_infinite(standardized.actions, standardized.proprio)
        except StairError as error:
            place = f"{shards[raw.shard].path}: record {raw.number}"
            raise StairError(f"{place}: {error.what}", hint=error.hint) from None
        if len(standardized.actions):
            yield raw, standardized


def _again(
    first: tuple[RawEpisode, Standardized], rest: Iterator[tuple[RawEpisode, Standardized]]
) -> Iterator[tuple[RawEpisode, Standardized]]:
    yield first
    yield from rest


def _cameras(raw: RawEpisode) -> list[str]:
    """Names of the image columns below `steps/`: byte strings that begin like a picture."""
    prefix = "steps/observation/"
    texts = [key for key, values in raw.values.items() if not isinstance(values, np.ndarray)]
    return [
        key.removeprefix("steps/")
        for key in sorted(texts)
        if key.startswith(prefix) and bytes(raw.spans(key)[0][:2]) in (b"\xff\xd8", b"\x89P")
    ]


def _feature(camera: str) -> str:
    return f"observation.images.{camera.removeprefix('observation/')}"


def _state_names(dataset: str, standardized: Standardized) -> tuple[str, ...]:
    width = standardized.proprio.shape[1]
    for names in (EULER, EDITIONS.get(dataset, ())):
        if len(names) == width:
            return names
    raise StairError(f"{dataset}: a state has {width} numbers, whose names nobody knows")


def _write(
    writer: LeRobotWriter, raw: RawEpisode, standardized: Standardized, cameras: Sequence[str]
) -> None:
    count = len(standardized.actions)
    steps = range(standardized.first, standardized.first + count)
    pictures = {}
    for camera in cameras:
        spans = raw.spans(f"steps/{camera}")
        if len(spans) < steps.stop:
            raise StairError(f"record {raw.number}: {len(spans)} images of {camera} for {steps.stop} steps")
        pictures[_feature(camera)] = [bytes(spans[step]) for step in steps]
    numbers = {STATE: standardized.proprio, "action": standardized.actions}
    writer.add(numbers, pictures, standardized.instruction)


def _bytes(writer: LeRobotWriter, episode: int) -> int:
    paths = [table_path(episode)]
    if writer.settings.in_videos:
        paths += [video_path(camera, episode) for camera in writer.settings.cameras]
    return sum((writer.work / path).stat().st_size for path in paths)
