"""SimplerEnv's protocol, grid by grid: every start behind the published numbers, as plain values.

Takes a task and a setting, hands on Starts in a fixed order: what the environment is made with, where robot
and object begin. No simulator is imported. The surprise: the packaged environments of SimplerEnv draw these
at random from their seed; the published numbers come from walking the grid.

Source: scripts/*.sh of SimplerEnv and the environments of ManiSkill2_real2sim.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from typing import Any, Literal

from stair.errors import unknown

Setting = Literal["visual-matching", "variant-aggregation"]
Pairs = tuple[tuple[float, float], ...]
Looks = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Start:
    """One episode of the protocol."""

    env: str
    """Name the environment is registered by."""
    look: str
    """Episodes are averaged within a look, then looks are; empty where there is only one."""
    number: int
    """Place within the look, from 0; also seeds whatever the environment draws by itself."""
    step_limit: int
    make: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the environment's constructor."""
    robot: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """x and y in metres, and radians that the robot is turned beyond its neutral orientation."""
    object_xy: tuple[float, float] | None = None
    """metres; None where `layout` decides."""
    layout: int | None = None
    """The environment's own episode number; None where positions decide."""


@dataclass(frozen=True)
class Grid:
    """The starts of a task in one setting, as a product."""

    envs: tuple[str, ...]
    step_limit: int
    make: Mapping[str, Any]
    looks: Looks
    robots: tuple[tuple[float, float, float], ...]
    overlays: tuple[str, ...] = ()
    """Real photographs laid over the background, one for each robot pose or one for all."""
    objects: Pairs = ()
    layouts: int = 0

    def starts(self) -> Iterator[Start]:
        """Every start: looks, then envs, then poses, then objects."""
        for look, arguments in self.looks.items():
            number = 0
            for env, (nth, robot) in product(self.envs, enumerate(self.robots)):
                kind, _, orientation = env.partition("+")
                made = {**self.make, **arguments, **({orientation: True} if orientation else {})}
                name = made.pop("env", kind)
                if self.overlays:
                    made["rgb_overlay_path"] = self.overlays[min(nth, len(self.overlays) - 1)]
                for place in [*self.objects, *range(self.layouts)] or [None]:
                    here: dict[str, Any] = {"object_xy": place}
                    if isinstance(place, int):
                        here = {"layout": place}
                    yield Start(name, look, number, self.step_limit, made, robot, **here)
                    number += 1


def spread(low: float, high: float, count: int) -> tuple[float, ...]:
    """`count` evenly spaced numbers from low to high."""
    return tuple(round(low + (high - low) * k / (count - 1), 6) for k in range(count))


def cross(xs: tuple[float, ...], ys: tuple[float, ...]) -> Pairs:
    """Every pair, x slowest."""
    return tuple(product(xs, ys))


CONTROL_MODES = {
    "widowx": "arm_pd_ee_target_delta_pose_align2_gripper_pd_joint_pos",
    "google": "arm_pd_ee_delta_pose_align_interpolate_by_planner"
    "_gripper_pd_joint_target_delta_pos_interpolate_by_planner",
}
"""Robot → its controller, as the environments name it."""
COLOURS: Looks = {
    "arm0": {},
    "arm1": {"urdf_version": "recolor_tabletop_visual_matching_1"},
    "arm2": {"urdf_version": "recolor_tabletop_visual_matching_2"},
    "arm3": {"urdf_version": "recolor_cabinet_visual_matching_1"},
}
"""The Google robot's arm as it is and in three colours."""
TABLE = "google_pick_coke_can_1_v4"
TABLE_LOOKS: Looks = {
    "base": {},
    "background1": {"scene_name": f"{TABLE}_alt_background"},
    "background2": {"scene_name": f"{TABLE}_alt_background_2"},
    "darker": {"slightly_darker_lighting": True},
    "brighter": {"slightly_brighter_lighting": True},
    "texture1": {"scene_name": "Baked_sc1_staging_objaverse_cabinet1_h870"},
    "texture2": {"scene_name": "Baked_sc1_staging_objaverse_cabinet2_h870"},
}
"""Variant aggregation on the table; changes of the camera are run by SimplerEnv but not counted."""
CABINET_LOOKS: Looks = {
    "base": {},
    "bedroom": {"scene_name": "modern_bedroom_no_roof"},
    "office": {"scene_name": "modern_office_no_roof"},
    "brighter": {"light_mode": "brighter"},
    "darker": {"light_mode": "darker"},
    "station2": {"station_name": "mk_station2"},
    "station3": {"station_name": "mk_station3"},
}
RAY_TRACED = {"shader_dir": "rt"}
"""Needs an NVIDIA GPU."""
CABINET_PHOTO = RAY_TRACED | {
    "scene_name": "dummy_drawer",
    "station_name": "mk_station_recolor",
    "light_mode": "simple",
    "disable_bad_material": True,
}
POSES = {
    "a0": (0.644, -0.179, -0.03),
    "a1": (0.765, -0.182, -0.02),
    "a2": (0.889, -0.203, -0.06),
    "b0": (0.652, 0.009, 0.0),
    "b1": (0.752, 0.009, 0.0),
    "b2": (0.851, 0.035, 0.0),
    "c0": (0.665, 0.224, 0.0),
    "c1": (0.765, 0.222, -0.025),
    "c2": (0.865, 0.222, -0.025),
}
"""Where the robot stands before the cabinet; a photograph was taken from each."""
CAN = "GraspSingleOpenedCokeCanInScene-v0"
CAN_CROWD = "GraspSingleOpenedCokeCanDistractorInScene-v0"
CAN_PLACES = cross(spread(-0.35, -0.12, 5), spread(-0.02, 0.42, 5))
CAN_POSES = ("lr_switch", "upright", "laid_vertically")
APPLE = "PlaceIntoClosedTopDrawerCustomInScene-v0"
APPLE_PLACES = cross(spread(-0.08, -0.02, 3), spread(-0.02, 0.08, 3))


def _can(poses: tuple[str, ...]) -> dict[Setting, Grid]:
    envs = tuple(f"{CAN}+{pose}" for pose in poses)
    crowds: Looks = {
        "distractor": {"env": CAN_CROWD},
        "distractors": {"env": CAN_CROWD, "distractor_config": "more"},
    }
    make, robot = {"scene_name": TABLE}, ((0.35, 0.20, 0.0),)
    photo = ("google_coke_can_real_eval_1.png",)
    return {
        "visual-matching": Grid(envs, 80, make, COLOURS, robot, photo, CAN_PLACES),
        "variant-aggregation": Grid(envs, 80, make, {**TABLE_LOOKS, **crowds}, robot, (), CAN_PLACES),
    }


def _drawers(names: tuple[str, ...]) -> dict[Setting, Grid]:
    envs = tuple(f"{name}DrawerCustomInScene-v0" for name in names)
    photos = tuple(f"open_drawer_{pose}.png" for pose in POSES)
    grid = tuple((x, y, 0.0) for x, y in cross(spread(0.65, 0.85, 3), spread(-0.2, 0.2, 3)))
    real = RAY_TRACED | {"scene_name": "frl_apartment_stage_simple"}
    return {
        "visual-matching": Grid(envs, 113, CABINET_PHOTO, COLOURS, tuple(POSES.values()), photos),
        "variant-aggregation": Grid(envs, 113, real, CABINET_LOOKS, grid),
    }


def _apple() -> dict[Setting, Grid]:
    seen = ("a0", "b0", "c0")
    robots, photos = tuple(POSES[p] for p in seen), tuple(f"open_drawer_{p}.png" for p in seen)
    grid = tuple((0.65, y, 0.0) for y in spread(-0.2, 0.2, 3))
    baked = CABINET_PHOTO | {"model_ids": "baked_apple_v2"}
    real = RAY_TRACED | {"scene_name": "frl_apartment_stage_simple", "model_ids": "apple"}
    return {
        "visual-matching": Grid((APPLE,), 200, baked, COLOURS, robots, photos, APPLE_PLACES),
        "variant-aggregation": Grid((APPLE,), 200, real, CABINET_LOOKS, grid, (), APPLE_PLACES),
    }


def _near(env: str = "MoveNearGoogleBakedTexInScene-v0") -> dict[Setting, Grid]:
    robot, make = ((0.35, 0.21, -0.09),), {"scene_name": TABLE}
    looks = {**TABLE_LOOKS, "alone": {"no_distractor": True}}
    photo = ("google_move_near_real_eval_1.png",)
    return {
        "visual-matching": Grid((env,), 80, make, COLOURS, robot, photo, layouts=60),
        "variant-aggregation": Grid(("MoveNearGoogleInScene-v0",), 80, make, looks, robot, layouts=60),
    }


def _widowx(env: str, *, sink: bool = False) -> dict[Setting, Grid]:
    """Step limit 60, of the sink 120, as registered; most published numbers are of 120 throughout."""
    make = {
        "robot": "widowx_sink_camera_setup" if sink else "widowx",
        "scene_name": f"bridge_table_1_v{1 + sink}",
    }
    robot = ((0.127, 0.06, 0.0),) if sink else ((0.147, 0.028, 0.0),)
    photo = ("bridge_sink.png" if sink else "bridge_real_eval_1.png",)
    return {"visual-matching": Grid((env,), 120 if sink else 60, make, {"": {}}, robot, photo, layouts=24)}


GRIDS: dict[str, dict[Setting, Grid]] = {
    "google_robot_pick_coke_can": _can(CAN_POSES),
    "google_robot_pick_horizontal_coke_can": _can(("lr_switch",)),
    "google_robot_pick_standing_coke_can": _can(("upright",)),
    "google_robot_pick_vertical_coke_can": _can(("laid_vertically",)),
    "google_robot_move_near": _near(),
    "google_robot_move_near_v0": _near(),
    "google_robot_move_near_v1": {
        "visual-matching": _near("MoveNearGoogleBakedTexInScene-v1")["visual-matching"]
    },
    "google_robot_open_drawer": _drawers(("OpenTop", "OpenMiddle", "OpenBottom")),
    "google_robot_close_drawer": _drawers(("CloseTop", "CloseMiddle", "CloseBottom")),
    **{
        f"google_robot_{verb.lower()}_{place.lower()}_drawer": _drawers((f"{verb}{place}",))
        for verb in ("Open", "Close")
        for place in ("Top", "Middle", "Bottom")
    },
    "google_robot_place_apple_in_closed_top_drawer": _apple(),
    "widowx_spoon_on_towel": _widowx("PutSpoonOnTableClothInScene-v0"),
    "widowx_carrot_on_plate": _widowx("PutCarrotOnPlateInScene-v0"),
    "widowx_stack_cube": _widowx("StackGreenCubeOnYellowCubeBakedTexInScene-v0"),
    "widowx_put_eggplant_in_basket": _widowx("PutEggplantInBasketScene-v0", sink=True),
}
"""Task → setting → grid, for the tasks that numbers were published for."""


def _place(which: str = "") -> Grid:
    seen = ("a0", "b0", "c0")
    robots, photos = tuple(POSES[p] for p in seen), tuple(f"open_drawer_{p}.png" for p in seen)
    return Grid(
        (f"PlaceIntoClosed{which}DrawerCustomInScene-v0",), 200, CABINET_PHOTO, COLOURS, robots, photos
    )


ENDLESS: dict[str, Grid] = {
    "google_robot_pick_object": Grid(
        ("GraspSingleRandomObjectInScene-v0",),
        80,
        {"scene_name": TABLE},
        COLOURS,
        ((0.35, 0.20, 0.0),),
        ("google_coke_can_real_eval_1.png",),
    ),
    "google_robot_place_in_closed_drawer": _place(),
    "google_robot_place_in_closed_top_drawer": _place("Top"),
    "google_robot_place_in_closed_middle_drawer": _place("Middle"),
    "google_robot_place_in_closed_bottom_drawer": _place("Bottom"),
}
"""Tasks that SimplerEnv packages but published no grid for: the robot's poses take turns, and the environment
draws object and place from the layout's number, so there are as many layouts as one likes."""
_SHORT: dict[Setting, str] = {"visual-matching": "vm", "variant-aggregation": "va"}


def variant_name(setting: Setting, look: str) -> str:
    """How a look is named in a grid point: `vm-arm2`, `va-darker`; empty where a setting has only one."""
    return f"{_SHORT[setting]}-{look}" if look else ""


def looks(task: str) -> dict[Setting, tuple[str, ...]]:
    """Setting → variant names of a task, in the order of the grid."""
    grids: Mapping[Setting, Grid] = GRIDS.get(task) or {"visual-matching": ENDLESS[task]}
    return {
        setting: tuple(variant_name(setting, look) for look in grid.looks) for setting, grid in grids.items()
    }


def starts(task: str, setting: Setting) -> list[Start]:
    """Every start of a task in a setting. Raises UsageError for what was never published."""
    if task not in GRIDS:
        raise unknown("task with a published grid", task, GRIDS)
    if setting not in GRIDS[task]:
        raise unknown(f"setting of {task}", setting, GRIDS[task])
    return list(GRIDS[task][setting].starts())


def find_start(task: str, variant: str, number: int) -> Start:
    """The start of a grid point that exists (stair/sim/tasks.py checks that)."""
    known = _starts_by_variant(task)[variant]
    if task in ENDLESS:
        return replace(known[number % len(known)], number=number)
    return known[number]


@cache
def _starts_by_variant(task: str) -> dict[str, list[Start]]:
    grids: Mapping[Setting, Grid] = GRIDS.get(task) or {"visual-matching": ENDLESS[task]}
    found: dict[str, list[Start]] = {}
    for setting, grid in grids.items():
        for start in grid.starts():
            found.setdefault(variant_name(setting, start.look), []).append(start)
    return found
