"""Writes LeRobot data sets, versions 2.0, 2.1 and 3.0.

Takes episodes one by one (numbers, pictures, an instruction), hands on a folder that appears under its name
when everything is in it. Until then it is a hidden folder beside it, which the next run with the same
settings goes on with: an episode counts once its line is in `journal.jsonl`, after its files. The surprise
is 3.0: its episodes are staged as 2.x files, and packed into large ones at the end (pack.py).
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from stair.data.lerobot.encode import encode_video
from stair.data.lerobot.folder import VERSIONS
from stair.data.lerobot.stats import looked_at, number_stats, picture_stats
from stair.data.lerobot.tables import parquet
from stair.data.rlds_writer import encode_image
from stair.data.transforms import decode_image
from stair.errors import StairError, unknown
from stair.rundir import write_whole

Codec = Literal["av1", "h264", "jpeg", "png"]
CODECS = ("av1", "h264", "jpeg", "png")
"""Videos, or (jpeg, png) images in a column of the tables."""
CHUNK = 1000
"""Episodes of a 2.x folder's chunk, files of a 3.0 one's."""
V2_TABLE = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
V2_VIDEO = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
COUNTERS = ("timestamp", "frame_index", "episode_index", "index", "task_index")
JOURNAL, SETTINGS, PLAN = "journal.jsonl", "settings.json", "pack.json"
"""Of an unfinished data set: its episodes, what it is to be, and which of them will share a file."""
QUALITY = 95


@dataclass(frozen=True)
class LeRobotSettings:
    """What a data set is to be; a run that is to be gone on with must have the same."""

    version: str
    fps: float
    robot_type: str
    numbers: Mapping[str, tuple[str, ...]]
    """Names of the numbers of each feature, e.g. `action`: (x, y, ..., gripper)."""
    cameras: Mapping[str, tuple[int, int]]
    """Height and width by feature, e.g. `observation.images.image_0`."""
    codec: Codec = "av1"
    origin: str = ""
    """Of what; free words that tell one source from another."""
    data_mb: float = 100.0
    """Most of a 3.0 table, uncompressed."""
    video_mb: float = 200.0
    """Most of a 3.0 video."""

    @property
    def in_videos(self) -> bool:
        return self.codec in ("av1", "h264")


@dataclass
class Done:
    """What the journal says; arrays grow with every episode."""

    lengths: list[int] = field(default_factory=list)
    tasks: dict[str, int] = field(default_factory=dict)
    """task_index by instruction, in order of appearance"""
    task_of: list[int] = field(default_factory=list)
    steps: int = 0

    def add(self, line: Mapping[str, Any]) -> None:
        self.lengths.append(line["length"])
        self.steps += line["length"]
        self.task_of.append(self.tasks.setdefault(line["task"], len(self.tasks)))


class LeRobotWriter:
    """Writes one data set folder.

    writer = LeRobotWriter(folder, settings)
    for number in range(writer.done, episodes):
        writer.add({"observation.state": ..., "action": ...}, {"observation.images.image_0": ...}, words)
    writer.close()
    """

    def __init__(self, folder: Path | str, settings: LeRobotSettings) -> None:
        self.folder, self.settings = Path(folder), settings
        if settings.version not in VERSIONS:
            raise unknown("LeRobot version", settings.version, VERSIONS)
        if settings.codec not in CODECS:
            raise unknown("codec", settings.codec, CODECS)
        if self.folder.exists():
            raise StairError(f"{self.folder} exists", hint="remove it, or write under another name")
        parquet()
        self.work = work_folder(self.folder)
        self.records = Done()
        try:
            self.work.mkdir(parents=True, exist_ok=True)
            self.journal = open(self.work / JOURNAL, "a")  # noqa: SIM115
            hold(self.journal, self.work)
            self._go_on()
        except OSError as error:
            raise StairError(f"cannot write {self.work}: {error.strerror}", hint="is it writable?") from None
        except StairError:
            self.journal.close()
            raise

    @property
    def done(self) -> int:
        """How many episodes are written, counting those of earlier runs."""
        return len(self.records.lengths)

    def add(
        self,
        numbers: Mapping[str, np.ndarray],
        pictures: Mapping[str, Sequence[np.ndarray] | Sequence[bytes]],
        task: str,
    ) -> None:
        """Writes the next episode of N > 0 steps: float [N, width] of each feature, N pictures of each
        camera: uint8 [H, W, 3], or (for jpeg and png) encoded already. Raises StairError for values that do
        not fit, or a full disk."""
        length = self._checked(numbers, pictures)
        number = self.done
        stats = {name: number_stats(values) for name, values in numbers.items()}
        columns: dict[str, Any] = dict(numbers)
        for camera, images in pictures.items():
            looked = [images[k] for k in looked_at(length)]
            stats[camera] = picture_stats([decode_image(i) if isinstance(i, bytes) else i for i in looked])
            if self.settings.in_videos:
                decoded = [decode_image(i) if isinstance(i, bytes) else i for i in images]
                path = self.work / video_path(camera, number)
                encode_video(path, decoded, self.settings.fps, self.settings.codec)
            else:
                columns[camera] = [
                    i if isinstance(i, bytes) else encode_image(i, self.settings.codec, QUALITY)
                    for i in images
                ]
        task_index = self.records.tasks.get(task, len(self.records.tasks))
        counters = {
            "timestamp": (np.arange(length) / self.settings.fps).astype(np.float32),
            "frame_index": np.arange(length),
            "episode_index": np.full(length, number),
            "index": self.records.steps + np.arange(length),
            "task_index": np.full(length, task_index),
        }
        stats |= {name: number_stats(values[:, None]) for name, values in counters.items()}
        table = make_table({**columns, **counters})
        write_table(self.work / table_path(number), table)
        line = {"length": length, "task": task, "table_bytes": table.nbytes, "stats": stats}
        self._note(line)

    def close(self) -> None:
        """Writes what describes the data set and gives the folder its name. Raises StairError when there is
        no episode, or for a full disk; a next run then goes on here."""
        from stair.data.lerobot.pack import describe, pack

        with self.journal:
            if not self.done:
                raise StairError(
                    f"{self.folder}: there is no episode to write", hint="does the source have any?"
                )
            try:
                packed = self.settings.version == "v3.0"
                places = pack(self.work, self.settings, self.records) if packed else None
                describe(self.work, self.settings, self.records, places)
                for cut in self.work.rglob(".*"):  # by a kill in the middle of a file
                    cut.unlink()
                self.work.rename(self.folder)
                for name in (JOURNAL, SETTINGS, PLAN):
                    (self.folder / name).unlink(missing_ok=True)
            except OSError as error:
                raise StairError(
                    f"cannot write {self.folder}: {error.strerror or error}", hint="is the disk full?"
                ) from None

    def _checked(self, numbers: Mapping[str, np.ndarray], pictures: Mapping[str, Sequence[Any]]) -> int:
        for given, expected in ((numbers, self.settings.numbers), (pictures, self.settings.cameras)):
            if odd := sorted(given.keys() ^ expected.keys()):
                raise StairError(f"{self.folder}: '{odd[0]}' is given or expected, not both")
        lengths = {len(values) for values in (*numbers.values(), *pictures.values())}
        widths = {name: values.shape[1:] for name, values in numbers.items()}
        if len(lengths) != 1 or lengths == {0}:
            raise StairError(f"{self.folder}: an episode's columns have {sorted(lengths)} steps")
        for name, width in widths.items():
            if width != (len(self.settings.numbers[name]),):
                raise StairError(
                    f"{self.folder}: {name} is {list(width)}",
                    hint=f"{len(self.settings.numbers[name])} names",
                )
        for camera, images in pictures.items():
            sizes = {image.shape for image in images if isinstance(image, np.ndarray)}
            if sizes - {(*self.settings.cameras[camera], 3)}:
                raise StairError(f"{self.folder}: {camera} has pictures of {sorted(sizes)}")
        return lengths.pop()

    def _go_on(self) -> None:
        """Takes up what an earlier run left; a line that was cut is as if it had never been begun."""
        settings = json.loads(json.dumps(asdict(self.settings)))
        kept = self.work / SETTINGS
        if kept.is_file():
            earlier = json.loads(kept.read_text())
            if other := [name for name in settings if settings[name] != earlier.get(name)]:
                name = other[0]
                raise StairError(
                    f"{self.work} was begun with {name} {earlier.get(name)!r}, not {settings[name]!r}",
                    hint=f"the same again to go on, or rm -r {self.work}",
                )
        else:
            write_whole(kept, json.dumps(settings))
        journal = self.work / JOURNAL
        whole = 0
        if journal.is_file():
            with open(journal, "rb") as file:
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self.records.add(json.loads(line))
                    whole += len(line)
            os.truncate(journal, whole)

    def _note(self, line: Mapping[str, Any]) -> None:
        try:
            self.journal.write(json.dumps(line) + "\n")
            self.journal.flush()
            os.fsync(self.journal.fileno())
        except OSError as error:
            raise StairError(
                f"cannot write {self.work}: {error.strerror}", hint="is the disk full?"
            ) from None
        self.records.add(line)


def work_folder(folder: Path) -> Path:
    """Where a data set is while it is being written."""
    return folder.with_name(f".{folder.name}.writing")


def hold(file: IO[Any], work: Path) -> None:
    """Keeps an unfinished data set to this process while `file`, which lies in it, is open. Raises StairError
    while another one is at work there; a file system without locks lets both."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StairError(f"{work} is being written by another process", hint="wait for its end") from None
    except OSError:
        pass


def abandon(folder: Path) -> None:
    """Removes what unfinished runs left of a data set."""
    shutil.rmtree(work_folder(folder), ignore_errors=True)


def table_path(episode: int) -> str:
    """Of an episode, in the 2.x layout."""
    return V2_TABLE.format(episode_chunk=episode // CHUNK, episode_index=episode)


def video_path(camera: str, episode: int) -> str:
    """Of an episode, in the 2.x layout."""
    return V2_VIDEO.format(episode_chunk=episode // CHUNK, video_key=camera, episode_index=episode)


def make_table(columns: Mapping[str, Any]) -> Any:
    """A pyarrow table: float [N, width] as lists of fixed size, [N] as numbers, N byte strings as images;
    with what Hugging Face's datasets wants to know of it."""
    import pyarrow as pa

    arrays: list[Any] = []
    known: dict[str, Any] = {}
    for name, values in columns.items():
        if not isinstance(values, np.ndarray):
            kind = "png" if values[0][:4] == b"\x89PNG" else "jpg"
            rows = [{"bytes": image, "path": f"frame-{t:06d}.{kind}"} for t, image in enumerate(values)]
            arrays.append(pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())])))
            known[name] = {"_type": "Image"}
        elif values.ndim == 2:
            flat = pa.array(values.astype(np.float32).ravel())
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, values.shape[1]))
            number = {"dtype": "float32", "_type": "Value"}
            known[name] = {"feature": number, "length": values.shape[1], "_type": "Sequence"}
        else:
            kind = "float32" if values.dtype.kind == "f" else "int64"
            arrays.append(pa.array(values.astype(kind)))
            known[name] = {"dtype": kind, "_type": "Value"}
    table = pa.Table.from_arrays(arrays, names=list(columns))
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": known}})})


def write_table(path: Path, table: Any) -> None:
    """Writes a parquet file, whole or not at all. Raises StairError for a full disk."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet().write_table(table, partial)
        partial.rename(path)
    except OSError as error:
        raise StairError(f"cannot write {path}: {error}", hint="is the disk full?") from None
    finally:
        partial.unlink(missing_ok=True)
