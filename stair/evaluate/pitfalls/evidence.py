"""What the checks before episode 1 judge: a policy's statements, a few of its answers, and the robot.

Takes nothing, hands on the three values that `examine.py` and the checks pass each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from stair.evaluate.config import EvalConfig
from stair.policy.contract import PolicySpec
from stair.sim.contract import Robot


@dataclass(frozen=True)
class Finding:
    """One pitfall that was seen; the shape of a doctor's finding."""

    id: str
    level: Literal["warning", "error"]
    seen: str
    means: str
    cure: str


@dataclass(frozen=True)
class Setting:
    """What is known without asking the policy anything."""

    spec: PolicySpec
    robot: Robot
    image: np.ndarray
    instruction: str
    config: EvalConfig

    @property
    def key(self) -> str:
        return self.robot.unnorm_key


@dataclass(frozen=True)
class Answers:
    """What the policy answered to the first picture; float [K, D] each."""

    setting: Setting
    first: np.ndarray
    again: np.ndarray
    """The same question once more."""
    seeds: list[np.ndarray]
    """The same with other noise, `first` among them."""
    other_image: np.ndarray
    other_words: np.ndarray

    @property
    def every(self) -> np.ndarray:
        """All answers to the true question, float64 [n K, D]."""
        return np.concatenate(self.seeds).astype(np.float64)
