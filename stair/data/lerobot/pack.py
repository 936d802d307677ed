"""Finishes a LeRobot data set: episodes into large files where 3.0 wants it, and the meta folder.

Takes a folder of episodes in the 2.x layout with its journal, hands on the documented files. Packing may
be interrupted: which episodes share a file is written down first, and a file that is there is whole. The
surprise: what was staged for a file is removed with it, so that the disk need not hold everything twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stair.data.lerobot.encode import join_videos
from stair.data.lerobot.stats import Together
from stair.data.lerobot.tables import parquet, read_columns
from stair.data.lerobot.writer import (
    CHUNK,
    COUNTERS,
    JOURNAL,
    PLAN,
    V2_TABLE,
    V2_VIDEO,
    Done,
    LeRobotSettings,
    table_path,
    video_path,
    write_table,
)
from stair.rundir import write_whole

V3_TABLE = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
V3_VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
V3_EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
EPISODES_A_FILE = 10_000
"""Of meta/episodes; a line is a few kB."""

Places = Mapping[str, Sequence[Sequence[int]]]
"""By `data` and camera: the episodes [first, end) of every file."""


def groups(sizes: Sequence[int], most: float) -> list[list[int]]:
    """Consecutive episodes [first, end) that share a file: as many as fit into `most` bytes, one at least."""
    result: list[list[int]] = []
    filled = 0.0
    for number, size in enumerate(sizes):
        if not result or filled + size > most:
            result.append([number, number])
            filled = 0.0
        result[-1][1] = number + 1
        filled += size
    return result


def pack(work: Path, settings: LeRobotSettings, done: Done) -> Places:
    """Joins the episodes' files to large ones. Goes on where an earlier run stopped."""
    places = _plan(work, settings, len(done.lengths))
    for nth, (first, end) in enumerate(places["data"]):
        target = work / V3_TABLE.format(chunk_index=nth // CHUNK, file_index=nth % CHUNK)
        parts = [work / table_path(episode) for episode in range(first, end)]
        if not target.exists():
            _join_tables(target, parts)
        _remove(parts)
    for camera in settings.cameras if settings.in_videos else ():
        for nth, (first, end) in enumerate(places[camera]):
            chunk, file = nth // CHUNK, nth % CHUNK
            target = work / V3_VIDEO.format(video_key=camera, chunk_index=chunk, file_index=file)
            parts = [work / video_path(camera, episode) for episode in range(first, end)]
            if not target.exists():
                join_videos(target, parts, done.lengths[first:end], settings.fps)
            _remove(parts)
    return places


def describe(work: Path, settings: LeRobotSettings, done: Done, places: Places | None) -> None:
    """Writes the meta folder; `places` are those of a packed data set."""
    meta = work / "meta"
    together = Together()
    for line in _lines(work):
        together.add(line["stats"])
    tasks = [{"task_index": number, "task": task} for task, number in done.tasks.items()]
    if places is None:
        write_whole(meta / "tasks.jsonl", _json_lines(tasks))
        episodes = (
            {"episode_index": number, "tasks": [line["task"]], "length": line["length"]}
            for number, line in enumerate(_lines(work))
        )
        write_whole(meta / "episodes.jsonl", _json_lines(episodes))
    else:
        _write_tasks(meta / "tasks.parquet", list(done.tasks))
        _write_episodes(work, settings, places)
    if settings.version == "v2.1":
        stats = ({"episode_index": n, "stats": line["stats"]} for n, line in enumerate(_lines(work)))
        write_whole(meta / "episodes_stats.jsonl", _json_lines(stats))
    else:
        write_whole(meta / "stats.json", json.dumps(together.tree(), indent=4))
    write_whole(meta / "modality.json", json.dumps(_modality(settings), indent=4))
    write_whole(meta / "info.json", json.dumps(_info(settings, done), indent=4))


def _plan(work: Path, settings: LeRobotSettings, episodes: int) -> dict[str, list[list[int]]]:
    """Decided once, while all episodes' files are there to be measured."""
    kept = work / PLAN
    if kept.is_file():
        return json.loads(kept.read_text())
    plan = {"data": groups([line["table_bytes"] for line in _lines(work)], settings.data_mb * 2**20)}
    for camera in settings.cameras if settings.in_videos else ():
        sizes = [(work / video_path(camera, episode)).stat().st_size for episode in range(episodes)]
        plan[camera] = groups(sizes, settings.video_mb * 2**20)
    write_whole(kept, json.dumps(plan))
    return plan


def _join_tables(target: Path, parts: Sequence[Path]) -> None:
    """A row group for every episode, so that one can be read without its neighbours."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}")
    writer: Any = None
    try:
        for part in parts:
            table = read_columns(part)
            if writer is None:
                writer = parquet().ParquetWriter(partial, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
    partial.rename(target)


def _remove(parts: Sequence[Path]) -> None:
    for part in parts:
        part.unlink(missing_ok=True)
    for folder in dict.fromkeys(place for part in parts for place in (part.parent, part.parent.parent)):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _lines(work: Path) -> Iterator[dict[str, Any]]:
    with open(work / JOURNAL) as file:
        for line in file:
            yield json.loads(line)


def _json_lines(rows: Any) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write_tasks(path: Path, tasks: Sequence[str]) -> None:
    """As pandas writes a table whose index is the words, which is how LeRobot looks tasks up."""
    import pyarrow as pa

    def column(name: str, kind: str, numpy: str) -> dict[str, Any]:
        return {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}

    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [column("task_index", "int64", "int64"), column("task", "unicode", "object")],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    table = pa.table(
        {"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())}
    )
    write_table(path, table.replace_schema_metadata({"pandas": json.dumps(pandas)}))


def _write_episodes(work: Path, settings: LeRobotSettings, places: Places) -> None:
    import pyarrow as pa

    of = {
        name: np.repeat(np.arange(len(files)), [end - first for first, end in files])
        for name, files in places.items()
    }
    rows: list[dict[str, Any]] = []
    passed = dict.fromkeys(places, 0)
    """Steps before the episode: in the file, and (data) in the data set."""
    written = 0

    def flush() -> None:
        nonlocal written
        path = work / V3_EPISODES.format(chunk_index=written // CHUNK, file_index=written % CHUNK)
        write_table(path, pa.Table.from_pylist(rows))
        rows.clear()
        written += 1

    for number, line in enumerate(_lines(work)):
        length, start = line["length"], passed["data"]
        row: dict[str, Any] = {"episode_index": number, "tasks": [line["task"]], "length": length}
        row |= {
            "data/chunk_index": of["data"][number] // CHUNK,
            "data/file_index": of["data"][number] % CHUNK,
        }
        row |= {"dataset_from_index": start, "dataset_to_index": start + length}
        passed["data"] += length
        for camera in list(places)[1:]:
            file = int(of[camera][number])
            if number == places[camera][file][0]:
                passed[camera] = 0
            first, end = passed[camera], passed[camera] + length
            passed[camera] = end
            prefix = f"videos/{camera}"
            row |= {f"{prefix}/chunk_index": file // CHUNK, f"{prefix}/file_index": file % CHUNK}
            row |= {f"{prefix}/from_timestamp": first / settings.fps}
            row |= {f"{prefix}/to_timestamp": end / settings.fps}
        for feature, stats in line["stats"].items():
            row |= {f"stats/{feature}/{name}": value for name, value in stats.items()}
        row |= {"meta/episodes/chunk_index": written // CHUNK, "meta/episodes/file_index": written % CHUNK}
        rows.append({name: int(v) if isinstance(v, np.integer) else v for name, v in row.items()})
        if len(rows) == EPISODES_A_FILE:
            flush()
    if rows:
        flush()


def _modality(settings: LeRobotSettings) -> dict[str, Any]:
    """As StarVLA and GR00T read it."""

    def places(feature: str) -> dict[str, Any]:
        return {
            name: {"start": number, "end": number + 1, "original_key": feature}
            for number, name in enumerate(settings.numbers.get(feature, ()))
        }

    videos = {camera.rpartition(".")[2]: {"original_key": camera} for camera in settings.cameras}
    words = {"human.action.task_description": {"original_key": "task_index"}}
    return {
        "state": places("observation.state"),
        "action": places("action"),
        "video": videos,
        "annotation": words,
    }


def _info(settings: LeRobotSettings, done: Done) -> dict[str, Any]:
    packed = settings.version == "v3.0"
    episodes = len(done.lengths)
    fps = int(settings.fps) if settings.fps == int(settings.fps) else settings.fps
    rate = {"fps": fps} if packed else {}
    features: dict[str, Any] = {}
    for camera, (height, width) in settings.cameras.items():
        names = ["height", "width", "channels"]
        features[camera] = {"shape": [height, width, 3], "names": names}
        if settings.in_videos:
            facts = {"height": height, "width": width, "codec": settings.codec, "pix_fmt": "yuv420p"}
            facts |= {"is_depth_map": False, "fps": fps, "channels": 3}
            about = {f"video.{name}": value for name, value in facts.items()} | {"has_audio": False}
            features[camera] |= {"dtype": "video", "info": about}
        else:
            features[camera] |= {"dtype": "image", **rate}
    for name, names in settings.numbers.items():
        motors = {"motors": list(names)}
        features[name] = {"dtype": "float32", "shape": [len(names)], "names": motors, **rate}
    for name in COUNTERS:
        kind = "float32" if name == "timestamp" else "int64"
        features[name] = {"dtype": kind, "shape": [1], "names": None, **rate}
    info: dict[str, Any] = {
        "codebase_version": settings.version,
        "robot_type": settings.robot_type,
        "total_episodes": episodes,
        "total_frames": done.steps,
        "total_tasks": len(done.tasks),
    }
    if packed:
        info |= {"data_files_size_in_mb": settings.data_mb, "video_files_size_in_mb": settings.video_mb}
    else:
        videos = episodes * len(settings.cameras) if settings.in_videos else 0
        info |= {"total_videos": videos, "total_chunks": (episodes - 1) // CHUNK + 1}
    return info | {
        "chunks_size": CHUNK,
        "fps": fps,
        "splits": {"train": f"0:{episodes}"},
        "data_path": V3_TABLE if packed else V2_TABLE,
        "video_path": (V3_VIDEO if packed else V2_VIDEO) if settings.in_videos else None,
        "features": features,
    }
