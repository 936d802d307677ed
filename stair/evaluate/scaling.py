"""An action made larger or smaller, as SIMPLER's policies do it; numpy only.

Takes a physical action and `--action_scale`, hands on the scaled one. The surprise: it is the turn about its
axis that is scaled, not roll, pitch and yaw one by one: those policies scale the axis-angle vector.
"""

from __future__ import annotations

import numpy as np

from stair.sim.rotation import axis_angle, roll_pitch_yaw


def scaled(action: np.ndarray, scale: float) -> np.ndarray:
    """Metres and radians (roll, pitch, yaw) of a float [6 or more] action times `scale`; float64 [6]."""
    if scale == 1.0:
        return np.array(action[:6], np.float64)
    return np.concatenate([action[:3] * scale, roll_pitch_yaw(axis_angle(action[3:6]) * scale)])
