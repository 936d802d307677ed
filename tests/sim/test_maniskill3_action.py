"""Actions keep their meaning on the way to mani_skill's controllers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stair.errors import StairError
from stair.sim.maniskill3_action import command_of, matrix_of_rpy, moving_angles

PLAIN = SimpleNamespace(normalize_action=False, pos_upper=1.0, rot_lower=-1.57)
PANDA = SimpleNamespace(normalize_action=True, pos_upper=0.1, rot_lower=-0.1)
ANGLES = st.floats(-3.0, 3.0)


def about(axis: int, angle: float) -> np.ndarray:
    """A turn by its textbook formula (Rodrigues)."""
    k = np.zeros((3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    k[i, j], k[j, i] = -1, 1
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


@given(ANGLES, ANGLES, ANGLES)
def test_the_controller_turns_by_what_the_policy_meant(roll: float, pitch: float, yaw: float):
    meant = about(2, yaw) @ about(1, pitch) @ about(0, roll)
    a, b, c = moving_angles(matrix_of_rpy(roll, pitch, yaw))
    np.testing.assert_allclose(about(0, a) @ about(1, b) @ about(2, c), meant, atol=1e-7)


def test_a_quarter_turn_upwards_has_an_answer_too():
    meant = matrix_of_rpy(0.4, np.pi / 2, 0.1)
    for matrix in (meant, meant.T):
        a, b, c = moving_angles(matrix)
        np.testing.assert_allclose(about(0, a) @ about(1, b) @ about(2, c), matrix, atol=1e-7)


def test_metres_pass_and_an_opening_becomes_minus_one_to_one():
    opened = command_of(np.array([0.01, -0.02, 0.03, 0, 0, 0, 1]), PLAIN)
    np.testing.assert_allclose(opened, [0.01, -0.02, 0.03, 0, 0, 0, 1], atol=1e-8)
    assert command_of(np.zeros(7), PLAIN)[6] == -1
    assert opened.dtype == np.float32


def test_a_normalising_controller_gets_shares_of_its_limits():
    told = command_of(np.array([0.05, -0.3, 0, 0, 0, 0.05, 1]), PANDA)
    np.testing.assert_allclose(told, [0.5, -1, 0, 0, 0, -0.5, 1], atol=1e-6)  # it multiplies by rot_lower
    far = command_of(np.array([0, 0, 0, 0, 0, 1.0, 1]), PANDA)
    assert np.linalg.norm(far[3:6]) == pytest.approx(1)


@pytest.mark.parametrize("action", [np.full(7, np.nan), np.zeros(6), np.zeros((8, 7))])
def test_what_is_no_action_is_refused(action: np.ndarray):
    with pytest.raises(StairError, match="seven finite numbers"):
        command_of(action, PLAIN)
