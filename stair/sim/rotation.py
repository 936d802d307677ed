"""Rotations: from the angles that policies predict to the vectors of controllers, and back; numpy only."""

from __future__ import annotations

import numpy as np


def axis_angle(rpy: np.ndarray) -> np.ndarray:
    """Roll, pitch, yaw in radians become axis times angle, float64 [3].

    The angles turn about the fixed x, then y, then z axis (`sxyz`, as transforms3d.euler.euler2axangle, which
    SIMPLER's policies use); the angle is in [0, 2π).
    """
    (cr, cp, cy), (sr, sp, sy) = np.cos(np.divide(rpy, 2)), np.sin(np.divide(rpy, 2))
    real = cr * cp * cy + sr * sp * sy
    axis = np.array(
        [sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy, cr * cp * sy - sr * sp * cy], np.float64
    )
    length = float(np.linalg.norm(axis))
    if length < 1e-12:
        return np.zeros(3)
    return axis / length * (2 * np.arctan2(length, real))


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
