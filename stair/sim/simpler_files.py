"""The files that a start of SimplerEnv is made of, held against the published ones.

Takes a Start and ManiSkill2_real2sim's `data` folder, says which files it needs and whether they are the
right ones. The surprise: it is done before anything is built, because SAPIEN 2 does not raise when a scene's
mesh is missing: the can falls through the table that is not there, and every episode fails quietly.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from stair.errors import StairError
from stair.sim.contents import a_few, git_id
from stair.sim.simpler_checksums import CHECKSUMS
from stair.sim.simpler_grid import Start

STAND_INS = "stand-ins.txt"
"""A list in the data folder of files that are knowingly not the published ones, one path a line."""

_known_id = lru_cache(maxsize=1024)(git_id)
"""Starts share most of their files."""

_NEAR = ("{0}opened_pepsi_can{1}", "{0}opened_7up_can{1}", "{0}apple{1}", "{0}sponge{1}")
_NEAR += ("{0}opened_coke_can{1}", "{0}opened_redbull_can{1}", "blue_plastic_bottle", "orange")
_PLAIN, _BAKED = "info_pick_custom_v0", "info_pick_custom_baked_tex_v1"
_SPOON, _CARROT = "bridge_spoon_generated_modified", "bridge_carrot_generated_modified"
_CAN = "opened_coke_can"
_CROWD = (_CAN, "opened_pepsi_can", "apple", "sponge", "orange", "opened_7up_can", "opened_sprite_can")
_CROWD += ("opened_fanta_can", _SPOON)
_ANY = (_CAN, "opened_pepsi_can", "opened_sprite_can", "opened_fanta_can", "opened_redbull_can")
_ANY += ("blue_plastic_bottle", "apple", "orange", "sponge", _SPOON, _CARROT)
_ANY += ("green_cube_3cm", "yellow_cube_3cm", "eggplant")
_PLACED = ("7up_can", "apple", "blue_plastic_bottle", "coke_can", "fanta_can", "opened_coke_can")
_PLACED += (
    "opened_fanta_can",
    "opened_sprite_can",
    "orange",
    "pepsi_can",
    "redbull_can",
    "sponge",
    "sprite_can",
)
_PLACED += tuple(
    f"baked_{name}_v2"
    for name in (
        *("apple", "blue_plastic_bottle", "opened_7up_can", "opened_coke_can", "opened_pepsi_can"),
        *("opened_redbull_can", "orange", "sponge"),
    )
)
_OBJECTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "GraspSingleOpenedCokeCanInScene": (_PLAIN, (_CAN,)),
    "GraspSingleOpenedCokeCanDistractorInScene": (_PLAIN, _CROWD),
    "GraspSingleRandomObjectInScene": (_PLAIN, _ANY),
    "MoveNearGoogleInScene-v0": (_PLAIN, tuple(name.format("", "") for name in _NEAR)),
    "MoveNearGoogleBakedTexInScene-v0": (
        "info_pick_custom_baked_tex_v0",
        tuple(name.format("baked_", "") for name in _NEAR),
    ),
    "MoveNearGoogleBakedTexInScene-v1": (_BAKED, tuple(name.format("baked_", "_v2") for name in _NEAR)),
    "Open": (_PLAIN, ()),
    "Close": (_PLAIN, ()),
    "PlaceIntoClosed": (_BAKED, _PLACED),
    "PutSpoonOnTableCloth": ("info_bridge_custom_v0", (_SPOON, "table_cloth_generated_shorter")),
    "PutCarrotOnPlate": ("info_bridge_custom_v0", (_CARROT, "bridge_plate_objaverse_larger")),
    "StackGreenCubeOnYellowCubeBakedTex": (
        "info_bridge_custom_baked_tex_v0",
        ("baked_green_cube_3cm", "baked_yellow_cube_3cm"),
    ),
    "PutEggplantInBasket": ("info_bridge_custom_v0", ("eggplant", "sink", "dummy_sink_target_plane")),
}
"""Beginning of an environment's name → list of its objects' sizes, and the objects."""


def needed_files(start: Start) -> list[str]:
    """Paths below the data folder, sorted."""
    sizes, objects = next(found for beginning, found in _OBJECTS.items() if start.env.startswith(beginning))
    if "model_ids" in start.make:
        objects = (start.make["model_ids"],)
    found = [f"custom/{sizes}.json"]
    for name in objects:
        folder = f"custom/models/{name}"
        found += [f"{folder}/{file}" for file in CHECKSUMS[folder]]
    scene = start.make["scene_name"]
    if not scene.startswith("dummy"):
        found.append(f"hab2_bench_assets/stages/{scene}.glb")
    if "Drawer" in start.env:
        station = start.make.get("station_name", "mk_station")
        found += [f"custom/{station}.urdf", "custom/models/stone_tabletop.glb"]
    if "rgb_overlay_path" in start.make:
        found.append(f"real_inpainting/{start.make['rgb_overlay_path']}")
    return sorted(found)


def check_files(folder: Path, start: Start) -> list[str]:
    """Which of the needed files are listed as stand-ins. Raises StairError for files that are missing or
    are neither the published ones nor listed."""
    listed = _stand_ins(folder)
    needed = needed_files(start)
    missing = [path for path in needed if not (folder / path).is_file()]
    if missing:
        raise StairError(
            f"{folder} lacks {a_few(missing)}, which {start.env} needs",
            hint="--assets names the `data` folder of a whole ManiSkill2_real2sim (commit ef7a4d4)",
        )
    wrong = [path for path in needed if path not in listed and _known_id(folder / path) != _published(path)]
    if wrong:
        raise StairError(
            f"{folder} has other files than SimplerEnv published: {a_few(wrong)}",
            hint=f"fetch them again, or list them in {folder / STAND_INS} if that is meant: results will "
            "not compare with published ones",
        )
    return [path for path in needed if path in listed]


def _published(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return CHECKSUMS[folder][name]


def _stand_ins(folder: Path) -> set[str]:
    file = folder / STAND_INS
    return set(file.read_text().split()) if file.is_file() else set()
