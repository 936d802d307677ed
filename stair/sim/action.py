"""What every simulator takes for an action, and the names of what it tells beside success; numpy only."""

from __future__ import annotations

import numpy as np

from stair.errors import StairError

FLAGS = {
    "is_src_obj_grasped": "grasped",
    "is_grasped": "grasped",
    "consecutive_grasp": "grasped_5_steps",
    "src_on_target": "on_target",
}
"""SimplerEnv's and ManiSkill's name → ours, the same for every simulator."""


def seven_numbers(action: np.ndarray) -> np.ndarray:
    """An action of stair/sim/contract.py as float64 [7]. Raises StairError for what is none."""
    action = np.asarray(action, np.float64)
    if action.shape != (7,) or not np.isfinite(action).all():
        raise StairError(
            f"an action is seven finite numbers; got shape {action.shape}: {action}",
            hint="did the policy produce NaN, or a whole chunk instead of one step?",
        )
    return action
