"""Our own small simulator: a gripper over a table, two blocks, a plate and a towel; numpy only.

Implements sim/contract.py in WidowX conventions (7-d action, 5 Hz). The world is kinematic: the gripper
goes where it is told, passes through things, and a block is either held or at rest. Success is the
condition *now*: an episode goes on to its step limit, and a policy can spoil what it had reached, as in
SimplerEnv. The surprise: variant `swapped` speaks of the other block and the other target, while success
is still counted on the original goal; a policy that listens scores nothing there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stair.errors import StairError, UsageError
from stair.sim.action import seven_numbers
from stair.sim.contract import GridPoint, Observation, StepResult
from stair.sim.tabletop_camera import FINGER_GAP_OPEN_M, Camera, Pose
from stair.sim.tabletop_layout import (
    BLOCK_HALF,
    WORKSPACE_HIGH,
    WORKSPACE_LOW,
    Goal,
    Layout,
    draw_start,
    inside_target,
    phrase,
)
from stair.sim.tasks import check_point

STEP_LIMIT_M = 0.05
"""The gripper moves at most this far along each axis in one step."""
GRASP_HEIGHT_M = 0.035
"""Closing takes hold of a block only with the finger tips at most this high above its underside."""
LIFT_M = 0.01
"""A block counts as lifted once it hung this high; dragging it along the table is no success."""


@dataclass(frozen=True, eq=False)
class State:
    """The whole truth about a moment, which no policy sees."""

    position: np.ndarray
    """float64 [3]: the point between the finger tips."""
    rotation: np.ndarray
    """float64 [3]: roll, pitch, yaw; followed, without effect."""
    is_open: bool
    held: int | None
    """Which block the gripper holds."""
    blocks: np.ndarray
    """float64 [2, 3]: x, y of the centre, height of the underside."""
    grasped: tuple[bool, bool] = (False, False)
    """Whether each block was ever held."""
    lifted: tuple[bool, bool] = (False, False)
    """Whether each block ever hung above the table."""

    @property
    def opening(self) -> float:
        """0 closed, 1 open; a block keeps the fingers apart."""
        if self.is_open:
            return 1.0
        return 0.0 if self.held is None else 2 * BLOCK_HALF / FINGER_GAP_OPEN_M

    @property
    def proprio(self) -> np.ndarray:
        """float32 [7]: xyz, rpy, opening."""
        return np.concatenate([self.position, self.rotation, [self.opening]]).astype(np.float32)


def first_state(layout: Layout) -> State:
    """The state that a layout starts from: gripper in the air and open, blocks on the table."""
    blocks = np.concatenate([layout.blocks, np.zeros((2, 1))], axis=1)
    return State(layout.gripper.copy(), np.zeros(3), True, None, blocks)


def advance(state: State, action: np.ndarray, grasp_tolerance: float) -> State:
    """One control step: move, carry what is held, then open or close. Pure.

    action: float [7]; translation is clipped to STEP_LIMIT_M an axis, then to the workspace.
    """
    move = np.clip(action[:3], -STEP_LIMIT_M, STEP_LIMIT_M)
    position = np.clip(state.position + move, WORKSPACE_LOW, WORKSPACE_HIGH)
    rotation = (state.rotation + action[3:6] + np.pi) % (2 * np.pi) - np.pi
    is_open = bool(action[6] > 0.5)
    blocks, held = state.blocks, state.held
    if is_open:
        if held is not None:
            blocks = _settle(_carry(blocks, held, position), None)
        held = None
    else:
        if state.is_open:  # taking hold is an event: fingers that are closed already touch nothing new
            held = _within_reach(blocks, position, grasp_tolerance)
        if held is not None:
            blocks = _settle(_carry(blocks, held, position), held)
    grasped = tuple(before or held == k for k, before in enumerate(state.grasped))
    hangs = held is not None and blocks[held, 2] >= LIFT_M
    lifted = tuple(before or (hangs and held == k) for k, before in enumerate(state.lifted))
    return State(position, rotation, is_open, held, blocks, grasped, lifted)  # type: ignore[arg-type]


def is_success(state: State, layout: Layout, goal: Goal) -> bool:
    """Whether the goal's block, once lifted, now rests released with its centre on the goal's target."""
    return (
        state.is_open
        and state.lifted[goal.block]
        and inside_target(state.blocks[goal.block], layout, goal.target)
    )


class TabletopSim:
    """The Simulator. `state`, `layout` and `goal` are there for the expert and for probes, which may also
    replace `state`, as a hand reaching in would."""

    # A short ensemble: blending seven chunks, as on WidowX, closes the fingers too early here (25 % success
    # where two chunks reach 96 %, one policy, 48 episodes).

    def __init__(
        self, image_size: int = 128, grasp_tolerance: float = 0.032, max_steps: int | None = None
    ) -> None:
        """max_steps: instead of the task's own step limit. Raises UsageError for impossible values."""
        if not 16 <= image_size <= 1024:
            raise UsageError(f"tabletop draws no images of {image_size} pixels", hint="16 to 1024")
        if not 0 < grasp_tolerance <= 0.045:  # blocks are 90 mm apart: beyond, a grasp could mean either
            raise UsageError(f"grasp_tolerance {grasp_tolerance} m makes no sense", hint="0.005 to 0.045")
        if max_steps is not None and max_steps < 1:
            raise UsageError(f"max_steps {max_steps}: an episode has at least one step")
        self.grasp_tolerance = grasp_tolerance
        self.max_steps = max_steps
        self._camera = Camera(image_size)
        self._steps: int | None = None

    def reset(self, point: GridPoint) -> Observation:
        """Starts the episode of a grid point. Raises UsageError when there is no such point."""
        task = check_point("tabletop", point)
        start = draw_start(point.episode_id)
        spoken = start.goal.swapped() if point.variant == "swapped" else start.goal
        words = phrase(start.layout, spoken, start.template)
        return self.begin(start.layout, start.goal, words, self.max_steps or task.step_limit)

    def begin(self, layout: Layout, goal: Goal, instruction: str, step_limit: int = 60) -> Observation:
        """Starts an episode of any layout, goal and wording: for demonstrations and probes."""
        self.layout, self.goal, self.instruction = layout, goal, instruction
        self.step_limit = step_limit
        self.state = first_state(layout)
        self._steps = 0
        self._camera.prepare(layout)
        return self.observe()

    def step(self, action: np.ndarray) -> StepResult:
        """Moves one control step. Raises StairError for an action that is not seven finite numbers."""
        if self._steps is None:
            raise StairError("tabletop was stepped before its first reset", hint="call reset first")
        action = seven_numbers(action)
        self.state = advance(self.state, action, self.grasp_tolerance)
        self._steps += 1
        return StepResult(
            self.observe(),
            success=is_success(self.state, self.layout, self.goal),
            truncated=self._steps >= self.step_limit,
            info={
                "grasped": self.state.grasped[self.goal.block],
                "held": self.state.held == self.goal.block,
            },
        )

    def observe(self) -> Observation:
        """The present picture and the instruction."""
        pose = Pose(self.state.position, self.state.opening, self.state.blocks)
        return Observation(self._camera.shoot(pose), self.instruction)

    def close(self) -> None:
        """Nothing to give back."""


def _within_reach(blocks: np.ndarray, position: np.ndarray, tolerance: float) -> int | None:
    """The block that closing fingers take hold of: of a stack the one at their height, then the nearest."""
    distance = np.hypot(*(blocks[:, :2] - position[:2]).T)
    reach = (distance <= tolerance) & (position[2] <= blocks[:, 2] + GRASP_HEIGHT_M)
    above = np.abs(blocks[:, 2] + BLOCK_HALF - position[2])
    candidates = [(above[k], distance[k], k) for k in np.flatnonzero(reach)]
    return int(min(candidates)[2]) if candidates else None


def _carry(blocks: np.ndarray, held: int, position: np.ndarray) -> np.ndarray:
    """Blocks with the held one centred on the gripper, not below the table."""
    carried = blocks.copy()
    carried[held, :2] = position[:2]
    carried[held, 2] = max(0.0, position[2] - BLOCK_HALF)
    return carried


def _settle(blocks: np.ndarray, held: int | None) -> np.ndarray:
    """Lets everything that is not held fall onto the table or onto what is below it."""
    settled = blocks.copy()
    resting: list[int] = []
    for k in np.argsort(blocks[:, 2], kind="stable"):
        if k == held:
            continue
        below = [j for j in resting if np.abs(blocks[j, :2] - blocks[k, :2]).max() < 2 * BLOCK_HALF]
        settled[k, 2] = max((settled[j, 2] + 2 * BLOCK_HALF for j in below), default=0.0)
        resting.append(int(k))
    return settled
