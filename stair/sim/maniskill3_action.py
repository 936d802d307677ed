"""From a policy's action to what a controller of mani_skill 3.0.1 must be told; numpy only.

Takes metres, roll, pitch, yaw and an opening, hands on the numbers of `pd_ee_target_delta_pose`. The
surprise: SimplerEnv gives its engine an axis-angle vector; mani_skill's port of the same controller reads
three numbers (a, b, c) as Rx(a) Ry(b) Rz(c). It is given those of the same rotation, so that both engines
turn the hand alike (given the axis-angle vector it would be off by about half the product of two angles).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from stair.sim.action import seven_numbers


class ArmLimits(Protocol):
    """What counts of a mani_skill PDEEPoseControllerConfig."""

    normalize_action: bool
    """Whether the controller wants numbers in [-1, 1] of what it can do in a step."""
    pos_upper: float
    """Metres."""
    rot_lower: float
    """Radians, negative. The controller multiplies by it, not by rot_upper."""


def command_of(action: np.ndarray, arm: ArmLimits) -> np.ndarray:
    """float32 [7] for the environment, from an action of stair/sim/contract.py.

    Raises StairError for what is not seven finite numbers. A normalising controller is told the most it can
    do where the action asks for more.
    """
    action = seven_numbers(action)
    metres, angles = action[:3], moving_angles(matrix_of_rpy(*action[3:6]))
    if arm.normalize_action:
        metres = np.clip(metres / arm.pos_upper, -1.0, 1.0)
        angles = angles / arm.rot_lower
        angles = angles / max(1.0, float(np.linalg.norm(angles)))
    return np.concatenate([metres, angles, [2.0 * action[6] - 1.0]]).astype(np.float32)


def matrix_of_rpy(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """Rz(yaw) Ry(pitch) Rx(roll), float64 [3, 3] for column vectors (transforms3d's sxyz)."""
    return _about(2, yaw) @ _about(1, pitch) @ _about(0, roll)


def moving_angles(matrix: np.ndarray) -> np.ndarray:
    """float64 [3]: the (a, b, c) with Rx(a) Ry(b) Rz(c) = matrix, b in [-π/2, π/2]."""
    sine = float(np.clip(matrix[0, 2], -1.0, 1.0))
    if abs(sine) > 1 - 1e-12:  # a and c turn about one axis: all is given to a
        return np.array([np.arctan2(matrix[2, 1], matrix[1, 1]), np.arcsin(sine), 0.0])
    a = np.arctan2(-matrix[1, 2], matrix[2, 2])
    return np.array([a, np.arcsin(sine), np.arctan2(-matrix[0, 1], matrix[0, 0])])


def _about(axis: int, angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[i, i] = matrix[j, j] = cos
    matrix[i, j], matrix[j, i] = -sin, sin
    return matrix
