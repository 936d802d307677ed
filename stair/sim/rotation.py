"""Rotations, from the angles that policies predict to the vectors that controllers follow; numpy only."""

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
