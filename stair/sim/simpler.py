"""SimplerEnv's tasks on SAPIEN 2, one environment at a time.

Takes grid points, hands on what sim/contract.py promises. It makes the environments of ManiSkill2_real2sim
itself and says robot, scene, look, photograph and places for every start. The surprise: `simpler_env.make` is
not used at all. What it makes draws all these at random, keeps the arguments of earlier calls, and overrides
ours; the published numbers come from environments made as here.

Subtasks: in `place ... in closed drawer` SimplerEnv asks to open the drawer, then to place the object. It
goes on when the policy says that it has finished, or of itself after 100 steps. Our policies never say so
(as Octo), and an oracle that looked into the drawer would help them, so the 100 steps decide.
"""

from __future__ import annotations

import gc
import importlib
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stair import console
from stair.errors import StairError, UsageError
from stair.sim.action import FLAGS, seven_numbers
from stair.sim.contract import GridPoint, Observation, StepResult
from stair.sim.render import CannotDraw, choose_driver
from stair.sim.rotation import axis_angle
from stair.sim.simpler_files import check_files
from stair.sim.simpler_grid import CONTROL_MODES, Start, find_start
from stair.sim.tasks import check_point

DATA = "MS2_REAL2SIM_ASSET_DIR"
"""The variable in which ManiSkill2_real2sim looks for its data folder, once, when it is imported."""


@dataclass(frozen=True)
class Setup:
    """What all environments of a robot are made with, as SimplerEnv's scripts do."""

    control_hz: int
    sim_hz: int
    control: str
    camera: str


GOOGLE = Setup(3, 513, CONTROL_MODES["google"], "overhead_camera")
WIDOWX = Setup(5, 500, CONTROL_MODES["widowx"], "3rd_view_camera")


def setup_of(start: Start) -> tuple[str, Setup]:
    """The robot's name and what belongs to it."""
    robot = start.make.get("robot", "google_robot_static")
    return robot, WIDOWX if robot.startswith("widowx") else GOOGLE


def constructor_arguments(start: Start, photos: Path, step_limit: int) -> dict[str, Any]:
    """What the environment of a start is made with; every call makes a new dictionary."""
    robot, setup = setup_of(start)
    arguments = {
        "obs_mode": "rgbd",
        "robot": robot,
        "control_freq": setup.control_hz,
        "sim_freq": setup.sim_hz,
        "control_mode": setup.control,
        "max_episode_steps": step_limit,
        "camera_cfgs": {"add_segmentation": True},  # the photograph is laid around what is segmented
        "renderer_kwargs": {"offscreen_only": True},
        **start.make,
    }
    if "rgb_overlay_path" in arguments:
        arguments["rgb_overlay_path"] = str(photos / arguments["rgb_overlay_path"])
        arguments["rgb_overlay_cameras"] = [setup.camera]
    return arguments


def reset_options(start: Start) -> dict[str, Any]:
    """What the environment of a start is reset with; new with every call, as some write to it."""
    x, y, yaw = start.robot
    options: dict[str, Any] = {
        "robot_init_options": {
            "init_xy": np.array([x, y]),
            # (w, x, y, z): half a turn about z is neutral, and the robot's yaw is turned beyond it
            "init_rot_quat": np.array([-math.sin(yaw / 2), 0.0, 0.0, math.cos(yaw / 2)]),
        },
        "obj_init_options": {},
    }
    if start.object_xy is not None:
        options["obj_init_options"]["init_xy"] = np.array(start.object_xy)
    if start.layout is not None:
        options["obj_init_options"]["episode_id"] = start.layout
    return options


def command_of(action: np.ndarray, setup: Setup) -> np.ndarray:
    """A contract action as the environment takes it, float64 [7].

    Metres, axis times angle in radians, gripper. WidowX: an opening becomes -1 (closed) or +1. Google
    Robot: the relative command passes as it is (positive closes).
    """
    action = seven_numbers(action)
    gripper = (1.0 if action[6] > 0.5 else -1.0) if setup is WIDOWX else action[6]
    return np.concatenate([action[:3], axis_angle(action[3:6]), [gripper]])


class SimplerSim:
    """The Simulator."""

    def __init__(self, assets: str = "", render: str = "", max_steps: int = 0) -> None:
        """assets: the `data` folder of ManiSkill2_real2sim; empty: where that package finds it itself.
        render: nvidia or cpu, see stair/sim/render.py. max_steps: instead of each task's own limit.

        Raises StairError where the simulator is not installed or the driver is not there.
        """
        # A process plays ray-traced and other tasks in turn, so ray tracing stays allowed wherever it can be.
        self.driver = choose_driver(render, ray_tracing=render != "cpu")
        if assets:
            if not Path(assets).is_dir():
                raise UsageError(f"--assets {assets} is no folder", hint="see stair/sim/simpler_files.py")
            os.environ[DATA] = str(Path(assets).resolve())
        try:
            gymnasium: Any = importlib.import_module("gymnasium")
            package: Any = importlib.import_module("mani_skill2_real2sim")
            importlib.import_module("mani_skill2_real2sim.envs")  # registers the environments
        except ImportError as error:
            raise StairError(
                f"SimplerEnv cannot be loaded here: {error}",
                hint="run inside an evaluation image that was built with ManiSkill2_real2sim's sources",
            ) from None
        self._make = gymnasium.make
        self._data = Path(package.ASSET_DIR)
        if assets and self._data.resolve() != Path(assets).resolve():
            raise StairError(
                f"SimplerEnv was loaded with the assets of {self._data}, not {assets}",
                hint="one asset folder a process: start another one",
            )
        self._max_steps = max_steps
        self._env: Any = None
        self._made: tuple[str, dict[str, Any], int] | None = None
        self._photo = ""
        self._told: set[str] = set()

    def reset(self, point: GridPoint) -> Observation:
        """Starts an episode. Raises UsageError for points that do not exist, StairError for missing files."""
        task = check_point("simpler", point)
        start = find_start(point.task, point.variant, point.episode_id)
        self._refuse(start)
        self._limit = self._max_steps or task.step_limit
        self._setup = setup_of(start)[1]
        self._open(start)
        seen, _ = self._env.reset(seed=start.number, options=reset_options(start))
        self._steps = 0
        return self._observe(seen)

    def step(self, action: np.ndarray) -> StepResult:
        """Moves one control step. Raises StairError for an action that is not seven finite numbers."""
        if self._env is None:
            raise StairError("simpler was stepped before its first reset", hint="call reset first")
        seen, _, success, _, info = self._env.step(command_of(action, self._setup))
        self._steps += 1
        return StepResult(
            self._observe(seen),
            success=bool(success),
            truncated=self._steps >= self._limit,
            info=flags(info),
        )

    def close(self) -> None:
        """Gives the renderer's memory back."""
        if self._env is not None:
            self._env.close()
            self._env = self._made = None
            gc.collect()

    def _refuse(self, start: Start) -> None:
        """Raises StairError for what this machine cannot show, before anything is built."""
        if self.driver == "cpu" and start.make.get("shader_dir") == "rt":
            raise CannotDraw(
                f"{start.env} is ray-traced with a denoiser that needs an NVIDIA GPU; a CPU takes minutes "
                "for a picture and leaves it noisy",
                hint="--render nvidia on a node with a GPU, or leave the drawer tasks out",
            )
        for path in check_files(self._data, start):
            if path not in self._told:
                self._told.add(path)
                console.say(f"{path} is a stand-in: results do not compare with published ones")

    def _open(self, start: Start) -> None:
        """Makes the environment of a start, or keeps the one that is open if only the photograph differs."""
        arguments = constructor_arguments(start, self._data / "real_inpainting", self._limit)
        photo = arguments.get("rgb_overlay_path", "")
        differing = {name: value for name, value in start.make.items() if name != "rgb_overlay_path"}
        made = start.env, differing, self._limit
        if made != self._made:
            self.close()  # two renderers in a process is one too many
            try:
                self._env = self._make(start.env, **arguments)
            except (RuntimeError, OSError) as error:
                raise StairError(
                    f"{start.env} could not be made: {error}",
                    hint="'rendering device': no Vulkan driver; stair-doctor node says why",
                ) from error
            self._made = made
        elif photo != self._photo:
            # What the packaged environments of SimplerEnv do themselves; making anew takes 10 to 20 s.
            import imageio.v3

            self._env.unwrapped.rgb_overlay_img = imageio.v3.imread(photo)[..., :3] / 255
        self._photo = photo

    def _observe(self, seen: Any) -> Observation:
        picture = seen["image"][self._setup.camera]["rgb"]
        return Observation(np.ascontiguousarray(picture), self._env.unwrapped.get_language_instruction())


def flags(info: dict[str, Any]) -> dict[str, Any]:
    """The named booleans and numbers of a step, and those of the episode so far that it does not have."""
    found = {}
    for name, value in {**info.get("episode_stats", {}), **info}.items():
        plain = value.item() if isinstance(value, np.generic) else value
        if isinstance(plain, bool | int | float) and name not in ("success", "elapsed_steps"):
            found[FLAGS.get(name, name)] = plain
    return found
