"""An expert for ManiSkill's WidowX tasks that is told where everything is; numpy only.

Takes the poses of hand, object and goal in the robot's frame, hands on actions in the policies' convention:
metres, roll pitch yaw, 1 = open. It stands here and not in stair/ because it looks behind the picture: it
proves that the adapter's frames, gripper and scale are right, and makes the demonstrations that a policy
without such knowledge then plays (see recorded_policy.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stair.sim.maniskill3_action import matrix_of_rpy

REACH_M, TURN_RAD = 0.04, 0.35
"""Most it moves and turns in a step."""
NEAR_M, NEAR_RAD = 0.006, 0.06


@dataclass(frozen=True)
class View:
    """What the expert is told, in the robot's frame."""

    hand: np.ndarray
    """float64 [3]: where the controller has been told to bring the hand"""
    hand_turn: np.ndarray
    """float64 [3, 3]"""
    thing: np.ndarray
    """float64 [3]: centre of what is carried"""
    thing_yaw: float
    """Direction across which it is grasped."""
    goal: np.ndarray
    """float64 [3]: centre of where it goes"""


@dataclass(frozen=True)
class Heights:
    """Of the hand, in metres."""

    grasp: float
    """Above the thing's centre."""
    carry: float = 0.12
    """Above the thing's first centre."""
    release: float = 0.05
    """Above the goal's centre."""


class WidowXExpert:
    """Goes above the thing, down, closes, up, above the goal, down, opens, up. One for each episode."""

    def __init__(self, first: View, heights: Heights) -> None:
        self.heights = heights
        self.first = first
        self.phase, self.since = 0, 0
        # A grasp is the same after half a turn: the smaller turn of the wrist will do.
        self.yaw = (first.thing_yaw + np.pi / 2) % np.pi - np.pi / 2
        self.held_off = np.zeros(3)

    def act(self, view: View) -> np.ndarray:
        """float32 [7]"""
        up = np.array([0.0, 0.0, 1.0])
        first, heights = self.first, self.heights
        above_goal = view.goal * (1, 1, 0) + self.held_off * (1, 1, 0)
        carry_z = first.thing[2] + heights.carry
        # phase: where to, opening, least steps
        plan = (
            (first.thing + heights.carry * up, 1.0, 0),
            (first.thing + heights.grasp * up, 1.0, 0),
            (first.thing + heights.grasp * up, 0.0, 4),
            (first.thing + heights.carry * up, 0.0, 0),
            (above_goal + carry_z * up, 0.0, 2),
            (above_goal + (view.goal[2] + heights.release) * up, 0.0, 2),
            (above_goal + (view.goal[2] + heights.release) * up, 1.0, 3),
            (above_goal + carry_z * up, 1.0, 1000),
        )
        target, opening, least = plan[self.phase]
        way = target - view.hand
        turn = self._turn_left(view)
        self.since += 1
        if np.linalg.norm(way) < NEAR_M and abs(turn) < NEAR_RAD and self.since > least:
            self.phase, self.since = self.phase + 1, 0
            if self.phase == 4:  # how the thing hangs in the hand
                self.held_off = view.hand - view.thing
            return self.act(view)
        way *= min(1.0, REACH_M / max(float(np.linalg.norm(way)), 1e-9))
        turn = float(np.clip(turn, -TURN_RAD, TURN_RAD))
        return np.array([*way, 0.0, 0.0, turn, opening], np.float32)

    def _turn_left(self, view: View) -> float:
        """How far the hand is from its yaw, about the vertical."""
        wanted = matrix_of_rpy(0, 0, self.yaw) @ self.first.hand_turn
        left = wanted @ view.hand_turn.T
        return float(np.arctan2(left[1, 0] - left[0, 1], left[0, 0] + left[1, 1]))
