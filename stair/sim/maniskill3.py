"""ManiSkill 3's tasks behind our contract: SimplerEnv's four WidowX tasks, and two that need no assets.

Takes grid points, hands on the protocol's camera at 640 x 480 and success as it is at this step. The
surprise: every episode begins in a scene made anew, one at a time, because nothing less gives the same
episode again. Lists that its class shares are emptied between tasks: mani_skill keeps there what the
photograph must not cover, so the next scene would inherit them and the last one would never be freed.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stair.errors import StairError
from stair.sim.action import FLAGS
from stair.sim.assets import AssetSet, asset_folder, check_assets, needs_assets
from stair.sim.contract import GridPoint, Observation, StepResult
from stair.sim.maniskill3_action import command_of
from stair.sim.render import CannotDraw, check_devices, choose_driver, devices_of_sapien3
from stair.sim.tasks import check_point

WIDTH, HEIGHT = 640, 480


@dataclass(frozen=True)
class Scene:
    """A task in mani_skill's words."""

    env: str
    camera: str
    """The sensor that the policy sees through."""
    instruction: str = ""
    """For environments that have none of their own."""
    make: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of gym.make."""


def _bridge(env: str) -> Scene:
    # The one observation mode they have: the segmentation tells what the photograph must not cover.
    return Scene(env, "3rd_view_camera", make={"obs_mode": "rgb+segmentation"})


def _panda(env: str, instruction: str) -> Scene:
    make = {
        "obs_mode": "rgb",
        # Like the WidowX's: from where the hand was told to be. pd_ee_delta_pose starts from where it is, and
        # covers a third of the metres that it is told.
        "control_mode": "pd_ee_target_delta_pose",
        "sensor_configs": {"width": WIDTH, "height": HEIGHT},
        "robot_uids": "panda",
    }
    return Scene(env, "base_camera", instruction, make)


SCENES = {
    "widowx_carrot_on_plate": _bridge("PutCarrotOnPlateInScene-v1"),
    "widowx_spoon_on_towel": _bridge("PutSpoonOnTableClothInScene-v1"),
    "widowx_stack_cube": _bridge("StackGreenCubeOnYellowCubeBakedTexInScene-v1"),
    "widowx_put_eggplant_in_basket": _bridge("PutEggplantInBasketScene-v1"),
    "maniskill_pick_cube": _panda("PickCube-v1", "pick up the red cube and hold it at the goal"),
    "maniskill_push_cube": _panda("PushCube-v1", "push the cube onto the target"),
}
"""Task name → scene. The names are those of stair/sim/tasks.py."""

_FLAGS = FLAGS | {"is_obj_placed": "on_target"}
"""mani_skill's name → ours. The bridge tasks' grasps are "so far in this episode". Their moved_correct_obj
and moved_wrong_obj are left out: in 3.0.1 they are never set."""


class ManiSkill3Sim:
    """One process's ManiSkill. Physics runs on the CPU, so that an episode is the same everywhere.

    render: the driver that draws, `nvidia` (also when empty) or `cpu`. assets: the folder that
    MS_ASSET_DIR would name; empty: MS_ASSET_DIR, or ~/.maniskill. max_steps: 0 is the task's own limit.
    Raises CannotDraw, and StairError when mani_skill is missing.
    """

    def __init__(self, render: str = "", assets: str = "", max_steps: int = 0) -> None:
        self.max_steps = max_steps
        self.render = choose_driver(render)
        self.assets = _use_assets(assets)
        try:
            import mani_skill.envs  # noqa: F401  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise StairError(
                f"mani_skill cannot be imported ({error})",
                hint="use the evaluation image, or pip install mani_skill==3.0.1 'numpy<2.4'",
            ) from None
        self._task, self._steps, self._limit = "", 0, 0
        self._env: Any = None
        self._arm: Any = None

    def reset(self, point: GridPoint) -> Observation:
        """Starts an episode. Raises StairError for a task, layout or asset that does not exist."""
        task = check_point("maniskill3", point)
        if point.task != self._task:
            self._build(point.task)
        self._steps, self._limit = 0, self.max_steps or task.step_limit
        # Objects are dropped while the robot still stands where the last episode left it, and PhysX remembers
        # contacts: only a scene that is new gives the same episode again (0.4 s; all meshes stay loaded).
        options = {**_options(point), "reconfigure": True}
        seen, _ = self._env.reset(seed=point.episode_id, options=options)
        self._arm = self._env.agent.controller.controllers["arm"].config
        return self._observe(seen)

    def step(self, action: np.ndarray) -> StepResult:
        """Moves one control step; see the contract."""
        if self._env is None:
            raise StairError("maniskill3 was stepped before its first reset", hint="call reset first")
        self._steps += 1
        seen, _, _, _, info = self._env.step(command_of(action, self._arm))
        flags = {ours: bool(info[name].item()) for name, ours in _FLAGS.items() if name in info}
        return StepResult(
            self._observe(seen), bool(info["success"].item()), self._steps >= self._limit, flags
        )

    def close(self) -> None:
        """Frees the scene; the simulator can be used again all the same."""
        if self._env is not None:
            self._env.close()
        self._env, self._arm, self._task = None, None, ""
        _forget_shared_lists()
        gc.collect()

    def _build(self, task: str) -> None:
        import gymnasium  # pyright: ignore[reportMissingImports]

        self.close()
        scene = SCENES[task]
        if needs_assets(task):
            # or mani_skill would ask on stdin whether to download
            _let_fingers_pass(check_assets(self.assets, [task]))
        try:
            env: Any = gymnasium.make(
                scene.env,
                sim_backend="cpu",
                render_backend="cpu" if self.render == "cpu" else "gpu",
                reward_mode="none",
                **scene.make,
            )
        except RuntimeError as error:
            raise CannotDraw(
                f"{scene.env} could not be made: {error}", hint="stair-doctor says what is wrong with Vulkan"
            ) from error
        self._env = env.unwrapped
        check_devices(self.render, devices_of_sapien3())
        # Where it finds no CUDA device, mani_skill goes on with the CPU after a warning.
        if (self._env.backend.render_backend == "sapien_cpu") != (self.render == "cpu"):
            raise CannotDraw(
                f"mani_skill draws with {self._env.backend.render_backend}, not with '{self.render}'",
                hint="on a GPU node: does nvidia-smi see the GPU in here? Else --render cpu",
            )
        self._task = task

    def _observe(self, seen: Mapping[str, Any]) -> Observation:
        scene = SCENES[self._task]
        image = seen["sensor_data"][scene.camera]["rgb"][0].cpu().numpy()
        said = scene.instruction or self._env.get_language_instruction()[0]
        return Observation(np.ascontiguousarray(image, np.uint8), said)


def _options(point: GridPoint) -> dict[str, Any]:
    """How a layout is named: the bridge tasks have numbered ones, the others draw theirs from the seed."""
    import torch

    return {"episode_id": torch.tensor([point.episode_id])} if needs_assets(point.task) else {}


def _use_assets(folder: str) -> str:
    """The asset folder, as mani_skill will see it. It reads the variable once, when it is imported."""
    wanted = str(asset_folder(folder))
    loaded = sys.modules.get("mani_skill")
    if loaded is not None and str(loaded.ASSET_DIR.parent.absolute()) != wanted:
        raise StairError(
            f"mani_skill was loaded with the assets of {loaded.ASSET_DIR.parent}, not {wanted}",
            hint="one asset folder a process: start another one",
        )
    os.environ["MS_ASSET_DIR"] = wanted
    os.environ.pop("MS_SKIP_ASSET_DOWNLOAD_PROMPT", None)  # it would turn a question into a download
    return wanted


def _let_fingers_pass(assets: AssetSet) -> None:
    """SimplerEnv's robot files name no links that may overlap; its code frees the fingers from the bar that
    they begin in. mani_skill has no such code: with those files the gripper would never close, and every
    policy would score 0."""
    from mani_skill.agents.robots.widowx import WidowX250S  # pyright: ignore[reportMissingImports]

    WidowX250S.disable_self_collisions = not assets.has_filter


def _forget_shared_lists() -> None:
    with contextlib.suppress(ImportError):
        from mani_skill.envs.tasks.digital_twins.base_env import BaseDigitalTwinEnv  # pyright: ignore[reportMissingImports]

        BaseDigitalTwinEnv._objects_to_remove_from_greenscreen = []
        BaseDigitalTwinEnv._rgb_overlay_images = {}
