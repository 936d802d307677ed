"""The folder a run leaves behind: every name in it, found and made in one place.

    RUN/config.yaml plan.json manifest.json metrics.jsonl report.{md,html,json}
        logs/  checkpoints/step-N/{model/,training/}  episodes/*.jsonl  videos/
        doctor/{JOB-RESTART-NODE.json,drawing-SHARE.json}     fact sheets of nodes, and where nothing is drawn
    RUN/STEP/settings.yaml  server.address  done.json  members/{K.address,0000K.json}     of one step

Files are written whole and then renamed, so that a reader never sees half of one; a checkpoint exists
when its `complete` marker does.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stair.errors import StairError
from stair.frozen import frozen


@frozen
class Checkpoint:
    """One saved step: `model/` is what serving loads, `training/` what resuming loads."""

    path: Path
    step: int

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def training(self) -> Path:
        return self.path / "training"

    @property
    def marker(self) -> Path:
        return self.path / "complete"


@frozen
class RunDir:
    """The paths of one run. Making a RunDir touches nothing; `create` makes the folder."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def episodes(self) -> Path:
        return self.path / "episodes"

    @property
    def videos(self) -> Path:
        return self.path / "videos"

    def fact_sheet(self, job: str, restart: int, node: str, when: str = "") -> Path:
        """What the doctor saw on a node of a job; `when` tells a look at its `end` from that at its start."""
        return self.path / "doctor" / f"{job}-{restart}-{node}{when and '-'}{when}.json"

    def drawing_sheet(self, share: int) -> Path:
        """What the doctor saw where one share of an evaluation could not draw."""
        return self.path / "doctor" / f"drawing-{share:05d}.json"

    def report(self, suffix: str) -> Path:
        """The report as `md`, `html` or `json`."""
        return self.path / f"report.{suffix}"

    def create(self) -> RunDir:
        """Makes the folder. Raises StairError when the place cannot be written."""
        make_folder(self.path)
        if not os.access(self.path, os.W_OK):
            raise StairError(f"run folder {self.path} is not writable", hint="choose another with --run")
        return self

    def checkpoint(self, step: int) -> Checkpoint:
        """The place of one step's checkpoint, whether or not it exists."""
        return Checkpoint(self.checkpoints / f"step-{step:07d}", step)

    def saved_checkpoints(self) -> list[Checkpoint]:
        """All complete checkpoints, oldest first."""
        found = []
        for path in self.checkpoints.glob("step-*"):
            match = re.fullmatch(r"step-(\d+)", path.name)
            if match and (path / "complete").exists():
                found.append(Checkpoint(path, int(match[1])))
        return sorted(found, key=lambda checkpoint: checkpoint.step)

    def latest_checkpoint(self) -> Checkpoint | None:
        """The newest complete checkpoint, or None."""
        saved = self.saved_checkpoints()
        return saved[-1] if saved else None


def settings_file(folder: str) -> Path:
    """Where a step's command finds its settings."""
    return Path(folder) / "settings.yaml"


def address_file(folder: str, member: int | str | None = None) -> Path:
    """Where a step's policy server, or that of one member, writes its address."""
    return Path(folder) / ("server.address" if member is None else f"members/{member}.address")


def done_file(folder: str, member: int | None = None) -> Path:
    """The marker of a finished step, or of one finished member of it."""
    return Path(folder) / ("done.json" if member is None else f"members/{member:05d}.json")


def make_folder(path: Path) -> Path:
    """Makes a folder and its parents. Raises StairError naming the cause."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StairError(
            f"cannot make folder {path}: {error.strerror}", hint="choose a writable place"
        ) from None
    return path


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file whole: a temporary neighbour, flushed to disk, then renamed.

    Raises StairError on a full disk or a missing right; the old file, if any, is then untouched.
    """
    data = content.encode() if isinstance(content, str) else content
    # Its own also among threads, and among nodes, where processes may have the same number.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StairError(
            f"cannot write {path}: {error.strerror}", hint="is the disk full or read-only?"
        ) from None


def write_json(path: Path, value: Any) -> None:
    """Writes a value as indented JSON, whole."""
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def append_line(path: Path, value: Any) -> None:
    """Appends one JSON line in a single write, so that concurrent readers see whole lines."""
    line = json.dumps(value, ensure_ascii=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(line)
    except OSError as error:
        raise StairError(
            f"cannot write {path}: {error.strerror}", hint="is the disk full or read-only?"
        ) from None


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the JSON lines of a file; a last line cut off in mid-write is skipped."""
    if not path.exists():
        return
    with path.open("rb") as file:  # what is cut off may end within a letter
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield json.loads(line)
