"""An action made larger or smaller, as SIMPLER's policies do it; numpy only.

Takes a physical action and `--action_scale`, hands on the scaled one. The surprise: it is the turn about its
axis that is scaled, not roll, pitch and yaw one by one: those policies scale the axis-angle vector.
"""

from __future__ import annotations

import numpy as np

from stair.sim.rotation import axis_angle


def scaled(action: np.ndarray, scale: float) -> np.ndarray:
    """Metres and radians (roll, pitch, yaw) of a float [6 or more] action times `scale`; float64 [6]."""
    if scale == 1.0:
        return np.array(action[:6], np.float64)
    return np.concatenate([action[:3] * scale, roll_pitch_yaw(axis_angle(action[3:6]) * scale)])


def roll_pitch_yaw(turn: np.ndarray) -> np.ndarray:
    """The inverse of `axis_angle`: float64 [3], roll and yaw in (-π, π], pitch in [-π/2, π/2]."""
    angle = float(np.linalg.norm(turn))
    if angle < 1e-12:
        return np.zeros(3)
    w = np.cos(angle / 2)
    x, y, z = np.sin(angle / 2) * np.asarray(turn) / angle
    return np.array(
        [
            np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y)),
            np.arcsin(np.clip(2 * (w * y - z * x), -1, 1)),
            np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)),
        ]
    )
