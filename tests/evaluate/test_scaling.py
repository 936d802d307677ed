"""Scaling follows SIMPLER: metres times scale, and the turn about its axis times scale."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stair.evaluate.scaling import scaled
from stair.sim.rotation import axis_angle, roll_pitch_yaw


def matrix(turn):
    """Rodrigues' formula."""
    angle = np.linalg.norm(turn)
    x, y, z = turn / max(angle, 1e-12)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


angles = st.tuples(*[st.floats(-1.2, 1.2)] * 3).map(np.array)


@settings(max_examples=60)
@given(angles)
def test_angles_come_back_from_the_axis(rpy):
    assert roll_pitch_yaw(axis_angle(rpy)) == pytest.approx(rpy, abs=1e-9)


@settings(max_examples=60)
@given(angles, st.sampled_from([0.5, 1.0, 1.7]))
def test_the_axis_stays_and_the_angle_grows(rpy, scale):
    action = np.concatenate([[0.1, -0.2, 0.3], rpy, [1.0]])
    done = scaled(action, scale)
    assert done.shape == (6,)
    assert done[:3] == pytest.approx(scale * action[:3])
    assert matrix(axis_angle(done[3:])) == pytest.approx(matrix(scale * axis_angle(rpy)), abs=1e-9)


def test_a_scale_of_one_changes_nothing_and_half_a_turn_is_no_sum_of_halves():
    action = np.array([0, 0, 0, 1.0, 0.8, 0.6, 1.0])
    assert np.array_equal(scaled(action, 1.0), action[:6])
    assert np.abs(scaled(action, 0.5)[3:] - 0.5 * action[3:6]).max() > 0.01


def test_no_turn_stays_none():
    assert np.array_equal(scaled(np.zeros(7), 2.0), np.zeros(6))
