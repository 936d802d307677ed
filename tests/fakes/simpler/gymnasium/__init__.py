"""Stands in for gymnasium with SimplerEnv's environments: what they accept, refuse, change and hand back.

Recorded from ManiSkill2_real2sim at ef7a4d4. Nothing is simulated: the picture shows the photograph's first
colour, the number of steps and the gripper's command, so that tests see what was passed on.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

_BASE = """
obs_mode reward_mode control_mode render_mode sim_freq control_freq renderer renderer_kwargs shader_dir
render_config enable_shadow camera_cfgs render_camera_cfgs bg_name robot rgb_overlay_path
rgb_overlay_cameras rgb_overlay_mode rgb_always_overlay_objects disable_bad_material asset_root
scene_root scene_name scene_offset scene_pose scene_table_height model_json model_ids model_db_override
urdf_version prepackaged_config
"""
_LIGHT = "slightly_darker_lighting slightly_brighter_lighting"
_GRASP = f"{_LIGHT} darker_lighting upright laid_vertically lr_switch distractor_model_ids"
_NEAR = f"{_LIGHT} original_lighting ambient_only_lighting no_distractor"
_DRAWER = "light_mode camera_mode station_name cabinet_joint_friction"
ACCEPTED = {
    "GraspSingleOpenedCokeCanInScene-v0": _GRASP,
    "GraspSingleOpenedCokeCanDistractorInScene-v0": f"{_GRASP} distractor_config",
    "GraspSingleRandomObjectInScene-v0": _GRASP,
    "MoveNearGoogleInScene-v0": _NEAR,
    "MoveNearGoogleBakedTexInScene-v0": _NEAR,
    "MoveNearGoogleBakedTexInScene-v1": f"{_NEAR} light_mode",
    **{
        f"{verb}{place}DrawerCustomInScene-v0": _DRAWER
        for verb in ("Open", "Close")
        for place in ("", "Top", "Middle", "Bottom")
    },
    **{
        f"PlaceIntoClosed{place}DrawerCustomInScene-v0": f"{_DRAWER} force_advance_subtask_time_steps"
        for place in ("", "Top", "Middle", "Bottom")
    },
    "PutSpoonOnTableClothInScene-v0": "",
    "PutCarrotOnPlateInScene-v0": "",
    "StackGreenCubeOnYellowCubeBakedTexInScene-v0": "",
    "PutEggplantInBasketScene-v0": "",
}
"""Environment → arguments of its constructor beyond the common ones."""
SIZES = {"overhead_camera": (512, 640), "3rd_view_camera": (480, 640), "base_camera": (128, 128)}

made: list[tuple[str, dict[str, Any]]] = []
"""Every environment that was made, with what it was made with."""
resets: list[tuple[int | None, dict[str, Any]]] = []
steps: list[np.ndarray] = []
advanced: list[int] = []
"""Steps at which somebody outside asked for the next subtask."""
opened = 0


class _Environment:
    def __init__(self, name: str, arguments: dict[str, Any]) -> None:
        self.name, self.arguments = name, arguments
        photo = arguments.get("rgb_overlay_path")
        if photo is not None and not Path(photo).exists():
            raise FileNotFoundError(f"rgb_overlay_path {photo} is not found.")
        self.rgb_overlay_img = None if photo is None else _read(photo)
        self.unwrapped = self
        self.camera = "3rd_view_camera" if "widowx" in arguments["robot"] else "overhead_camera"
        self.subtask = self.elapsed = 0

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        assert options is not None  # CustomSceneEnv.reset reads it without looking
        resets.append((seed, copy.deepcopy(options)))
        if self.name.startswith("Close"):
            options["obj_init_options"]["cabinet_init_qpos"] = 0.2  # it writes into the caller's
        self.subtask = self.elapsed = 0
        return self._look(0.0), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert isinstance(action, np.ndarray)
        assert action.shape == (7,)
        assert np.abs(action).max() <= np.pi / 2
        steps.append(action)
        if self._is_long and self.elapsed >= 100:
            self.subtask = 1
        self.elapsed += 1
        success = bool(action[6] > 0) and (not self._is_long or self.subtask == 1)
        info = {
            "elapsed_steps": self.elapsed,
            "is_src_obj_grasped": np.bool_(action[2] > 0),
            "qpos": np.float32(0.25),
            "success": success,
            "episode_stats": OrderedDict(qpos="0.250", has_contact=3),
        }
        return self._look(action[6]), 0.0, success, self.elapsed >= self.arguments["max_episode_steps"], info

    def get_language_instruction(self) -> str:
        return (
            ("open top drawer", "place apple into top drawer")[self.subtask] if self._is_long else self.name
        )

    def is_final_subtask(self) -> bool:
        return not self._is_long or self.subtask == 1

    def advance_to_next_subtask(self) -> None:
        advanced.append(self.elapsed)
        self.subtask = 1

    def close(self) -> None:
        global opened
        opened -= 1

    @property
    def _is_long(self) -> bool:
        return self.name.startswith("PlaceInto")

    def _look(self, gripper: float) -> dict[str, Any]:
        images = {}
        for camera in ("base_camera", self.camera):
            rgb = np.zeros((*SIZES[camera], 3), np.uint8)
            if camera == self.camera:
                rgb[0, 0] = 0 if self.rgb_overlay_img is None else np.rint(self.rgb_overlay_img[0, 0] * 255)
                rgb[1, 0] = self.elapsed, round(gripper * 100) % 256, self.subtask
            images[camera] = {"rgb": rgb, "depth": rgb[..., :1].astype(np.float32)}
        return OrderedDict(agent={}, extra={}, camera_param={}, image=images)


def make(name: str, *, max_episode_steps: int, **arguments: Any) -> _Environment:
    """Refuses what the real one refuses, and a second environment beside an open one."""
    global opened
    unknown = set(arguments) - set(f"{_BASE} {ACCEPTED[name]}".split())
    if unknown:
        raise TypeError(f"{name} got unexpected keyword arguments {sorted(unknown)}")
    if arguments.get("obs_mode") not in ("state", "state_dict", "none", "image", "rgbd"):
        raise NotImplementedError(f"Unsupported obs mode: {arguments.get('obs_mode')}")
    if opened:
        raise RuntimeError("two renderers in one process")
    arguments["max_episode_steps"] = max_episode_steps
    made.append((name, copy.deepcopy(arguments)))
    environment = _Environment(name, arguments)
    arguments["camera_cfgs"]["touched"] = True  # whoever hands out a shared dictionary will see it again
    opened += 1
    return environment


def _read(photo: str) -> np.ndarray:
    import imageio.v3

    return imageio.v3.imread(photo)[..., :3] / 255
