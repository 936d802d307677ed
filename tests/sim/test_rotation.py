"""Rotations against transforms3d 0.4, whose values are written down."""

import numpy as np
import pytest

from stair.sim.rotation import axis_angle


@pytest.mark.parametrize(
    ("rpy", "vector"),
    [
        ((0.3, -0.2, 0.5), (0.34276505, -0.11973373, 0.52456836)),
        ((3.0, 0.5, -2.5), (1.17410873, -3.33078761, -0.52193772)),
        ((1e-4, 2e-4, -3e-4), (0.00010003, 0.00019998, -0.00030001)),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((0.0, 0.7, 0.0), (0.0, 0.7, 0.0)),
    ],
)
def test_angles_about_fixed_axes_become_one_turn(rpy, vector):
    assert axis_angle(np.array(rpy)) == pytest.approx(vector, abs=1e-8)
    assert axis_angle(np.array(rpy, np.float32)).dtype == np.float64
