"""The scripted expert of the tabletop: from the true state to the clean action.

A pure function of state, layout and goal, so it can be asked anywhere, also after a disturbance, and has no
phases to get stuck in. The surprise: instead of phases it follows a funnel. Each goal place prescribes a
height for every horizontal distance (high far away, low right above), and a gripper that is too low for its
distance rises before it moves sideways; lifting, travelling and descending all follow from that.
"""

from __future__ import annotations

import numpy as np

from stair.sim.tabletop import State
from stair.sim.tabletop_layout import Goal, Layout, inside_target

SPEED_M = 0.03
"""Longest sideways and longest vertical motion of one step."""
_GAIN = 0.8  # share of the remaining way that one step asks for, below SPEED_M
_TRAVEL_M = 0.095  # height far from the goal place, and after the release
_FUNNEL_NEAR_M, _FUNNEL_FAR_M = 0.012, 0.055
_GRASP_M, _GRASP_BELOW_M = 0.010, 0.024  # height aimed at, and the one at which closing is allowed
_GRASP_WITHIN_M = 0.012
_RELEASE_M, _RELEASE_BELOW_M = 0.040, 0.058
_RELEASE_WITHIN_M = 0.016
_SLACK_M = 0.01  # too low by less than this does not slow the sideways motion
_REST_M = 0.002  # a rise shorter than this is not worth a motion


def expert_action(state: State, layout: Layout, goal: Goal) -> np.ndarray:
    """The action, float32 [7], that a careful demonstrator takes in this state."""
    block = state.blocks[goal.block]
    if state.held == goal.block:
        return _deliver(state, layout.targets[goal.target], state.lifted[goal.block])
    if state.held is not None:
        return _action(np.zeros(3), is_open=True)  # the wrong block: let go of it
    if state.lifted[goal.block] and inside_target(block, layout, goal.target):
        return _action(_retreat(state.position), is_open=True)
    return _fetch(state, block)


def _fetch(state: State, block: np.ndarray) -> np.ndarray:
    """Towards the block with open fingers; closes once they are around it."""
    height = state.position[2] - block[2]
    near = _distance(state.position, block) <= _GRASP_WITHIN_M
    if near and height <= _GRASP_BELOW_M and state.is_open:
        return _action(np.zeros(3), is_open=False)
    return _action(_funnel(state.position, block, block[2] + _GRASP_M), is_open=True)


def _deliver(state: State, place: np.ndarray, lifted: bool) -> np.ndarray:
    """Towards the target with closed fingers; opens once low above its middle."""
    if not lifted:  # it may have been grasped on the target itself
        return _action(_funnel(state.position, place, _TRAVEL_M), is_open=False)
    near = _distance(state.position, place) <= _RELEASE_WITHIN_M
    if near and state.position[2] <= _RELEASE_BELOW_M:
        return _action(np.zeros(3), is_open=True)
    return _action(_funnel(state.position, place, _RELEASE_M), is_open=False)


def _retreat(position: np.ndarray) -> np.ndarray:
    """Straight up to travelling height, then rest."""
    rise = _GAIN * (_TRAVEL_M - position[2])
    return np.array([0.0, 0.0, min(rise, SPEED_M) if rise > _REST_M else 0.0])


def _funnel(position: np.ndarray, place: np.ndarray, low: float) -> np.ndarray:
    """One step, float64 [3], of the way to `low` above `place`; rises before it moves sideways."""
    way = place[:2] - position[:2]
    slope = (np.hypot(*way) - _FUNNEL_NEAR_M) / (_FUNNEL_FAR_M - _FUNNEL_NEAR_M)
    height = low + (max(_TRAVEL_M, low) - low) * np.clip(slope, 0.0, 1.0)
    missing = max(0.0, height - position[2])  # how far too low for being this far away
    sideways = np.clip(1.0 - (missing - _SLACK_M) / SPEED_M, 0.0, 1.0)
    return np.append(_limit(sideways * _GAIN * way), _limit(_GAIN * (height - position[2])))


def _distance(position: np.ndarray, place: np.ndarray) -> float:
    return float(np.hypot(*(position[:2] - place[:2])))


def _limit(way: np.ndarray | float) -> np.ndarray:
    """Shortens a way to SPEED_M, keeping its direction."""
    length = float(np.linalg.norm(way))
    return np.asarray(way) * (1.0 if length <= SPEED_M else SPEED_M / length)


def _action(move: np.ndarray, *, is_open: bool) -> np.ndarray:
    return np.concatenate([move, np.zeros(3), [float(is_open)]]).astype(np.float32)
