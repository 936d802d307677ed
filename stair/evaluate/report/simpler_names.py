"""Episodes under the names that SimplerEnv gives its films, for scripts that count successes by file name.

Takes a Report, fills DIR/{checkpoint}/{scene}/{control mode}/{environment and its arguments}/
rob_…_rgb_overlay_…/{success|failure}_obj_….mp4, action plots in actions/ beside them, and names.txt with
every name. Success is that of the last step. The surprise: an episode that was not filmed gets an empty file
by its name, because those scripts look at names only, and would otherwise take the rate of the filmed ones
for that of all.

Source of the names: simpler_env/evaluation/maniskill2_evaluator.py and
tools/calc_metrics_evaluation_videos.py of SimplerEnv.
"""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from stair.errors import StairError, UsageError
from stair.evaluate.episodes import EpisodeRecord
from stair.evaluate.numbers.suites import setting_of
from stair.evaluate.report.reading import Evaluation, Report
from stair.sim.simpler_grid import CONTROL_MODES, GRIDS, Start, find_start

_BEFORE = ("shader_dir", "lr_switch", "upright", "laid_vertically", "station_name", "light_mode")
"""Arguments that stand first in an environment's name, whatever order they were given in."""
_AFTER = ("urdf_version", "model_ids")
"""And last."""
_ELSEWHERE = ("robot", "scene_name", "rgb_overlay_path")
"""Arguments that are told by another part of the path, or by none."""
_TAGS = {"MoveNearGoogleBakedTexInScene-v0": "_baked_except_bpb_orange"}
"""What the published scripts add to the name themselves."""
_FLAGS = {"grasped": "is_src_obj_grasped", "grasped_5_steps": "consecutive_grasp"}
"""Our names of what SimplerEnv's episodes tell beside success, and its own."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    episodes: int
    films: int
    left_out: int
    """Episodes in errors, and those of tasks that SimplerEnv does not have."""

    def in_words(self) -> str:
        text = (
            f"exported {self.episodes} episodes to {self.folder}, {self.films} with a film, the others empty"
        )
        return f"{text}; {self.left_out} left out" if self.left_out else text


def export_simpler(report: Report, folder: Path) -> Exported:
    """Fills `folder`, which must not exist yet; it appears when it is whole.

    Raises UsageError when it exists, StairError when there is nothing to export, when two episodes would
    get one name, or when the disk is full.
    """
    if folder.exists():
        raise UsageError(f"{folder} exists", hint="choose a folder that does not exist yet")
    names: dict[PurePosixPath, EpisodeRecord] = {}
    for evaluation in report.evaluations:
        for name, record in _names(evaluation):
            if name in names:
                raise StairError(
                    f"{record.key} is on record twice under one name: {name}",
                    hint="export the folder of one evaluation at a time",
                )
            names[name] = record
    total = sum(len(evaluation.records) for evaluation in report.evaluations)
    if not names:
        raise StairError(
            f"none of {total} episodes has a name in SimplerEnv", hint="only SimplerEnv's tasks have one"
        )
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        films = sum(_place(partial / name, report.run.path, record) for name, record in names.items())
        (partial / "names.txt").write_text("".join(f"{name}\n" for name in sorted(names)))
        partial.replace(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise StairError(f"cannot export to {folder}: {error.strerror}", hint="is the disk full?") from None
    return Exported(folder, len(names), films, total - len(names))


def _names(evaluation: Evaluation) -> Iterator[tuple[PurePosixPath, EpisodeRecord]]:
    several = len(evaluation.seeds) > 1
    for record in evaluation.records:
        if not record.error and record.task in GRIDS:
            yield simpler_name(record, f"_seed_{record.seed}" if several else ""), record


def simpler_name(record: EpisodeRecord, tag: str = "") -> PurePosixPath:
    """Where SimplerEnv would put the film of an episode of a published grid, below its logging folder.
    `tag` is added to the checkpoint's name."""
    start = find_start(record.task, record.variant, record.episode_id)
    checkpoint = re.sub(r"[^\w.+=-]+", "_", PurePosixPath(record.policy).name) or "policy"
    x, y, turned = start.robot
    yaw = math.remainder(math.pi + turned, 2 * math.pi)  # the neutral robot is turned by half a circle
    photo = start.make.get("rgb_overlay_path")
    return PurePosixPath(
        checkpoint + tag,
        str(start.make["scene_name"]),
        CONTROL_MODES["widowx" if record.task.startswith("widowx") else "google"],
        _environment(record, start),
        f"rob_{x}_{y}_rot_0.000_-0.000_{yaw:.3f}_rgb_overlay_{PurePosixPath(photo).stem if photo else None}",
        _episode(record, start),
    )


def _environment(record: EpisodeRecord, start: Start) -> str:
    arguments = dict(start.make)
    photographed = setting_of(record.task, record.variant) == "visual-matching"
    if photographed and record.task.startswith("google"):
        arguments.setdefault("urdf_version", None)
    inner = [name for name in arguments if name not in _BEFORE + _AFTER + _ELSEWHERE]
    ordered = [name for name in (*_BEFORE, *inner, *_AFTER) if name in arguments]
    told = "".join(f"_{name}_{arguments[name]}" for name in ordered)
    return f"{start.env}{told}{_TAGS.get(start.env, '')}"


def _episode(record: EpisodeRecord, start: Start) -> str:
    if start.layout is not None:
        where = f"episode_{start.layout}"
    else:
        where = "{}_{}".format(*(start.object_xy or (0.0, 0.0)))
    # "success" in a flag's name would be read as the outcome.
    flags = {_FLAGS.get(name, name): held for name, held in record.info_ever.items()}
    told = "".join(
        f"_{name}_{held}" for name, held in sorted(flags.items()) if not re.search("success|failure", name)
    )
    return f"{'success' if record.success else 'failure'}_obj_{where}{told}.mp4"


def _place(path: Path, root: Path, record: EpisodeRecord) -> bool:
    """The film and its plot under another name, or an empty file; whether there is a film."""
    path.parent.mkdir(parents=True, exist_ok=True)
    film = root / record.video
    if not record.video or not film.is_file():
        path.touch()
        return False
    _copy(film, path)
    if (plot := film.with_suffix(".png")).is_file():
        (path.parent / "actions").mkdir(exist_ok=True)
        _copy(plot, path.parent / "actions" / f"{path.stem}.png")
    return True


def _copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
