"""The meshes and pictures that ManiSkill's WidowX tasks are made of: all there, and known by content.

Takes the folder that MS_ASSET_DIR names, hands on an AssetSet whose digest tells two runs apart. What
mani_skill would open is found by following the files from the robot's URDF and the task's models to what
they name in turn. The surprise: what differs from SimplerEnv's published files is named, not refused, since
nobody publishes checksums of ManiSkill's own archive; but once a folder holds MANIFEST, its content is law.

`python -m stair.sim.assets FOLDER [--record]` shows a folder and writes the MANIFEST.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stair import console
from stair.errors import StairError, UsageError
from stair.rundir import write_json
from stair.sim.contents import a_few, git_id
from stair.sim.simpler_checksums import CHECKSUMS

MANIFEST = "stair-assets.json"
"""Path → id of every file, recorded once in the asset folder; a folder that has it may not change."""
BRIDGE = "data/tasks/bridge_v2_real2sim_dataset"
ROBOT = "data/robots/widowx/wx250s.urdf"
FILTER = "data/robots/widowx/wx250s.srdf"
"""Which links of the robot may pass through each other. ManiSkill's robot has it, SimplerEnv's does not."""
_ROBOT_IDS = {ROBOT: "c8084b9349520d6f", FILTER: "fb617bb5d728a9b5"}
"""Of ManiSkill-WidowX250S v0.2.0, which mani_skill 3.0.1 downloads."""


@dataclass(frozen=True)
class Needs:
    """What a task reads below BRIDGE."""

    models: tuple[str, ...]
    sizes: str = "info_bridge_custom_v0.json"
    stage: str = "bridge_table_1_v1.glb"
    photo: str = "bridge_real_eval_1.png"


NEEDS = {
    "widowx_carrot_on_plate": Needs(("bridge_carrot_generated_modified", "bridge_plate_objaverse_larger")),
    "widowx_spoon_on_towel": Needs(("bridge_spoon_generated_modified", "table_cloth_generated_shorter")),
    "widowx_stack_cube": Needs(
        ("baked_green_cube_3cm", "baked_yellow_cube_3cm"), sizes="info_bridge_custom_baked_tex_v0.json"
    ),
    "widowx_put_eggplant_in_basket": Needs(
        ("eggplant", "dummy_sink_target_plane", "sink"),
        stage="bridge_table_1_v2.glb",
        photo="bridge_sink.png",
    ),
}
"""Task → what it needs. Tasks that are not here are made of what mani_skill itself brings."""

_NAMED_IN = {
    ".urdf": re.compile(r'filename="([^"]+)"'),
    ".dae": re.compile(r"<init_from>([^<]+\.[^<]+)</init_from>"),  # its short names have no dot
    ".obj": re.compile(r"^mtllib\s+(.+?)\s*$", re.MULTILINE),
    ".mtl": re.compile(r"^map_\w+\s+(\S.*?)\s*$", re.MULTILINE),
}


@dataclass(frozen=True)
class AssetSet:
    """The files of some tasks."""

    files: dict[str, str]
    """Path below the asset folder → the first 16 digits of the id that git gives to its content."""

    @property
    def digest(self) -> str:
        """16 digits that change with any file."""
        lines = "".join(f"{id_} {path}\n" for path, id_ in sorted(self.files.items()))
        return hashlib.sha256(lines.encode()).hexdigest()[:16]

    @property
    def unpublished(self) -> list[str]:
        """Files of the tasks that are not as SimplerEnv or, for the robot, ManiSkill published them."""
        return [path for path, id_ in sorted(self.files.items()) if _published(path, id_) is False]

    @property
    def has_filter(self) -> bool:
        """Whether the robot's fingers know that they may pass its bar: without, they are stuck in it."""
        return FILTER in self.files


def asset_folder(named: str) -> Path:
    """The folder meant by `--assets`; empty: MS_ASSET_DIR, or where mani_skill looks without it."""
    return Path(named or os.environ.get("MS_ASSET_DIR") or Path.home() / ".maniskill").absolute()


def needs_assets(task: str) -> bool:
    """Whether a task reads more than mani_skill brings."""
    return task in NEEDS


def check_assets(folder: str | Path, tasks: Iterable[str]) -> AssetSet:
    """The files of `tasks`. Raises StairError when one is missing, empty or other than in the MANIFEST."""
    folder = Path(folder)
    files: dict[str, str] = {}
    for task in tasks:
        if task in NEEDS:
            for path in needed_files(folder, task):
                files[path] = files.get(path) or _id_of(folder, path, task)
    recorded = _recorded(folder)
    changed = [path for path, id_ in files.items() if recorded and recorded.get(path) != id_]
    if changed:
        raise StairError(
            f"{folder} is not as {MANIFEST} in it says: {a_few(changed)}",
            hint=f"bring them back; if the change is meant: python -m stair.sim.assets {folder} --record",
        )
    return AssetSet(files)


def all_assets(folder: str | Path) -> AssetSet:
    """What the folder has of every task: its digest does not depend on which of them are played."""
    folder = Path(folder)
    paths = {path for task in NEEDS for path in needed_files(folder, task)}
    return AssetSet({path: git_id(folder / path) for path in paths if (folder / path).is_file()})


def needed_files(folder: Path, task: str) -> Iterator[str]:
    """Paths below the asset folder that mani_skill opens for a task, as far as they can be followed."""
    needs = NEEDS[task]
    yield from _followed(folder, ROBOT)
    if (folder / FILTER).exists():
        yield FILTER
    yield f"{BRIDGE}/custom/{needs.sizes}"
    yield f"{BRIDGE}/stages/{needs.stage}"
    yield f"{BRIDGE}/real_inpainting/{needs.photo}"
    for model in needs.models:
        base = f"{BRIDGE}/custom/models/{model}"
        yield f"{base}/collision.obj"  # its materials do not matter
        kinds = [f"{base}/textured.{kind}" for kind in ("obj", "dae", "glb")]
        yield from _followed(folder, next((path for path in kinds if (folder / path).exists()), kinds[1]))


def _followed(folder: Path, path: str) -> Iterator[str]:
    """A file and what it names."""
    yield path
    pattern, file = _NAMED_IN.get(Path(path).suffix), folder / path
    if pattern is None or not file.is_file():
        return
    for name in sorted(set(pattern.findall(file.read_text(errors="replace")))):
        yield from _followed(folder, _plain(Path(path).parent / name))


def _plain(path: Path) -> str:
    """Without `..`; purely by name, so that links stay what they are called."""
    parts: list[str] = []
    for part in path.parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts)


def _id_of(folder: Path, path: str, task: str) -> str:
    file = folder / path
    try:
        if file.stat().st_size:
            return git_id(file)
        what = f"{path} in {folder} is empty"
    except OSError as error:
        what = f"{task} needs {path}, which {folder} does not have ({error.strerror})"
    raise StairError(
        what,
        hint="where there is internet: MS_ASSET_DIR=FOLDER python -m mani_skill.utils.download_asset "
        "bridge_v2_real2sim, then the same with widowx250s; then --assets FOLDER",
    )


def _published(path: str, id_: str) -> bool | None:
    """Whether this content was published under that name; None where nothing is known of it."""
    if not path.startswith(BRIDGE):
        return _ROBOT_IDS[path] == id_ if path in _ROBOT_IDS else None
    parent, _, name = path.removeprefix(f"{BRIDGE}/").rpartition("/")
    known = CHECKSUMS.get(parent.replace("stages", "hab2_bench_assets/stages"), {})
    return known.get(name) == id_


def _recorded(folder: Path) -> dict[str, str]:
    try:
        return json.loads((folder / MANIFEST).read_text())["files"]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StairError(
            f"{folder / MANIFEST} cannot be read ({error})", hint="remove it, or record it anew"
        ) from None


def main() -> None:
    words = [word for word in sys.argv[1:] if word != "--record"]
    if len(words) != 1 or words[0].startswith("-"):
        raise UsageError("python -m stair.sim.assets FOLDER [--record]", hint="FOLDER as for --assets")
    folder, record = Path(words[0]), "--record" in sys.argv
    if record:
        (folder / MANIFEST).unlink(missing_ok=True)
    every: dict[str, str] = {}
    for task in NEEDS:
        found = check_assets(folder, [task])
        every.update(found.files)
        odd = found.unpublished
        note = f"; not as published: {a_few(odd)}" if odd else ""
        console.show(f"{task}: {len(found.files)} files, {found.digest}{note}")
    if record:
        write_json(folder / MANIFEST, {"files": every})
        console.show(f"recorded in {folder / MANIFEST}")


if __name__ == "__main__":
    sys.exit(console.run_command(main))
