"""What every simulator looks like from the evaluation line; standard library only.

A grid point names one start of one task; its key is stable over machines and time, and every record
carries it. A simulator is deterministic: the same point and the same actions give the same episode.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from stair.policy.contract import ActionConvention

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class GridPoint:
    """One start: a task and one of its layouts."""

    task: str
    episode_id: int
    variant: str = ""
    """Which of the protocol's looks or wordings, empty for the plain one."""

    @property
    def key(self) -> str:
        """Stable name, e.g. `tabletop_put_block/ep0007`."""
        tail = f"/{self.variant}" if self.variant else ""
        return f"{self.task}/ep{self.episode_id:04d}{tail}"


@dataclass(frozen=True)
class Robot:
    """What a policy must agree with, and how its chunks become commands."""

    convention: ActionConvention
    unnorm_key: str
    """Data set whose statistics fit this robot."""
    ensemble_horizon: int
    """Chunks kept by the adaptive ensemble (7 on WidowX, 2 on Google Robot and tabletop)."""
    sticky_gripper: int = 0
    """Steps a gripper command is repeated (Google Robot 10); 0 is plain."""


@dataclass(frozen=True)
class Observation:
    """What the policy may see."""

    image: np.ndarray
    """uint8 [H, W, 3]"""
    instruction: str


@dataclass(frozen=True)
class StepResult:
    """The world after an action."""

    observation: Observation
    success: bool
    """Whether the task's condition holds now (SimplerEnv's `done`)."""
    truncated: bool
    """Whether the step limit is reached."""
    info: dict[str, Any] = field(default_factory=dict)
    """Named booleans and numbers of the task, e.g. `grasped`."""


class Simulator(Protocol):
    """One environment in one process."""

    def reset(self, point: GridPoint) -> Observation:
        """Starts an episode. Raises StairError for a task or layout that does not exist."""
        ...

    def step(self, action: np.ndarray) -> StepResult:
        """Moves one control step.

        `action` is float [7]: metres, radians (roll, pitch, yaw), and the gripper as stair/policy/chunks.py
        hands it on: opening 0 or 1, or for a sticky gripper the relative command (positive closes).
        """
        ...

    def close(self) -> None: ...
