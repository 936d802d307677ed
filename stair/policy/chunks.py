"""From chunks of predicted actions to the one action of each step; numpy only.

A `Control` says when it needs a new chunk, takes it, and gives actions. `AdaptiveEnsemble` asks at every
step and blends what the latest chunks say about it; `ChunkPlayer` runs part of a chunk before it asks
again. All work on physical (unnormalised) actions, float [K, 7]. The grippers below turn a predicted
opening in [0, 1] into what a robot is told.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np


class Control(Protocol):
    """What stands between a policy's chunks and a robot's steps."""

    def needs_query(self) -> bool:
        """Whether `add` must be called before the next action."""
        ...

    def add(self, chunk: np.ndarray) -> None:
        """Takes the chunk predicted for the present step and the ones after it, float [K, 7]."""
        ...

    def next_action(self) -> np.ndarray:
        """The action of the present step, float64 [7]; time then moves on by one step."""
        ...

    def reset(self) -> None:
        """Forgets everything: a new episode, or a new instruction."""
        ...


class AdaptiveEnsemble:
    """Blends the predictions that the last `horizon` chunks made for the present step.

    weight_i ∝ exp(alpha · cos(prediction_i, newest prediction)), over all seven dimensions of
    unnormalised actions (CogACT 2024, adaptive action ensemble; horizon 7 on WidowX, 2 on Google Robot,
    alpha 0.1). Chunks too short to reach the present step have no say.
    """

    def __init__(self, horizon: int, alpha: float = 0.1) -> None:
        self.alpha = alpha
        self._chunks: deque[np.ndarray] = deque(maxlen=horizon)
        self._fresh = False

    def needs_query(self) -> bool:
        return not self._fresh

    def add(self, chunk: np.ndarray) -> None:
        self._chunks.append(np.asarray(chunk, np.float64))
        self._fresh = True

    def next_action(self) -> np.ndarray:
        if not self._fresh:
            raise RuntimeError("the present step's chunk was not added")
        self._fresh = False
        ages = range(len(self._chunks) - 1, -1, -1)
        reaching = [chunk[age] for age, chunk in zip(ages, self._chunks, strict=True) if age < len(chunk)]
        return blend(np.stack(reaching), self.alpha)

    def reset(self) -> None:
        self._chunks.clear()
        self._fresh = False


def blend(predictions: np.ndarray, alpha: float) -> np.ndarray:
    """Weighted mean of predictions [n, 7] for one step, the newest last."""
    newest = predictions[-1]
    # 1e-7 as in CogACT: a prediction of exactly zero agrees with nothing rather than being undefined.
    lengths = np.linalg.norm(predictions, axis=1) * np.linalg.norm(newest) + 1e-7
    weights = np.exp(alpha * (predictions @ newest) / lengths)
    return weights @ predictions / weights.sum()


class ChunkPlayer:
    """Runs the first `execute` actions of a chunk, then asks again (open loop in between)."""

    def __init__(self, execute: int) -> None:
        self.execute = execute
        self._left: deque[np.ndarray] = deque()

    def needs_query(self) -> bool:
        return not self._left

    def add(self, chunk: np.ndarray) -> None:
        self._left = deque(np.asarray(chunk, np.float64)[: self.execute])

    def next_action(self) -> np.ndarray:
        if not self._left:
            raise RuntimeError("the chunk is played to its end")
        return self._left.popleft()

    def reset(self) -> None:
        self._left.clear()


class Gripper(Protocol):
    """From a predicted opening to a command, step by step."""

    def __call__(self, opening: float) -> float: ...

    def reset(self) -> None: ...


class BinaryGripper:
    """Open (1.0) above one half, else closed (0.0); WidowX and tabletop."""

    def __call__(self, opening: float) -> float:
        return 1.0 if opening > 0.5 else 0.0

    def reset(self) -> None:
        pass


class StickyGripper:
    """Google Robot: a change of opening becomes a relative command, repeated `steps` times.

    The command is previous − present opening (positive closes). A change above one half sticks; the
    previous opening moves on only then, as CogACT corrected SimplerEnv's policies (10 steps there).
    """

    def __init__(self, steps: int = 10) -> None:
        self.steps = steps
        self.reset()

    def reset(self) -> None:
        self._previous: float | None = None
        self._stuck, self._count = 0.0, 0

    def __call__(self, opening: float) -> float:
        if self._previous is None:
            self._previous = opening
            return 0.0
        command = self._previous - opening
        if self._count == 0 and abs(command) > 0.5:
            self._stuck, self._previous = command, opening
            self._count = self.steps
        if self._count:
            self._count -= 1
            return self._stuck
        return command
