"""One policy plays one episode.

Takes a simulator, a policy and a grid point, hands on a Rollout. What counts is SimplerEnv's: an episode
goes on to its step limit, and success is the condition at the *last* step; that it held at any step is
recorded too. The surprise: every query's noise is seeded by run seed, grid point and step (or, if fixed, by
the run seed alone), so an episode is the same whatever ran beside it or before it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from stair.evaluate.scaling import scaled
from stair.policy.chunks import (
    AdaptiveEnsemble,
    BinaryGripper,
    ChunkPlayer,
    Control,
    Gripper,
    StickyGripper,
)
from stair.policy.contract import Policy, Query
from stair.sim.contract import GridPoint, Robot, Simulator


@dataclass(frozen=True, eq=False)
class Rollout:
    """What happened in one episode."""

    success: bool
    """The task's condition at the last step."""
    success_ever: bool
    first_success: int | None
    """How many steps were taken when the condition first held."""
    steps: int
    queries: int
    instruction: str
    """What the policy was told last."""
    actions: np.ndarray
    """float32 [steps, 7]: as the simulator got them."""
    frames: list[np.ndarray]
    """uint8 [H, W, 3] each, before the first and after every step; empty unless filmed."""
    info: dict[str, bool] = field(default_factory=dict)
    """What the simulator told in yes and no at the last step, e.g. `grasped`."""
    info_ever: dict[str, bool] = field(default_factory=dict)
    """The same names, whether each held at any step."""


def query_seed(seed: int, key: str, step: int) -> int:
    """The seed, in [0, 2^63), of the query made before `step` of the grid point `key`."""
    digest = hashlib.sha256(f"{seed}/{key}/{step}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def make_control(kind: str, robot: Robot, *, execute: int, alpha: float) -> Control:
    """The control that EvalConfig names, with the horizon that suits the robot."""
    if kind == "chunk":
        return ChunkPlayer(execute)
    return AdaptiveEnsemble(robot.ensemble_horizon, alpha)


def run_episode(
    simulator: Simulator,
    robot: Robot,
    policy: Policy,
    point: GridPoint,
    control: Control,
    seed: int,
    *,
    action_scale: float = 1.0,
    instruction: str = "",
    noise: str = "step",
    film: bool = False,
) -> Rollout:
    """Plays `point` to its step limit.

    `instruction` is told to the policy instead of the simulator's. Motion, not the gripper, is
    multiplied by `action_scale`. `noise` as in EvalConfig. Raises whatever simulator and policy raise.
    """
    gripper = _gripper(robot)
    control.reset()
    observation = simulator.reset(point)
    told = instruction or observation.instruction
    frames = [observation.image] if film else []
    actions: list[np.ndarray] = []
    queries, held, first = 0, [], True
    info: dict[str, bool] = {}
    ever: dict[str, bool] = {}
    while True:
        heard = instruction or observation.instruction
        if heard != told:  # a subtask is done: what was planned for it is void
            told, first = heard, True
            control.reset()
            gripper.reset()
        if control.needs_query():
            step = len(actions)
            drawn = query_seed(seed, "fixed", 0) if noise == "fixed" else query_seed(seed, point.key, step)
            query = Query(observation.image, told, robot.unnorm_key, drawn, first=first)
            control.add(policy.act(query))
            queries, first = queries + 1, False
        action = control.next_action()
        action = np.append(scaled(action, action_scale), gripper(float(action[6]))).astype(np.float32)
        result = simulator.step(action)
        observation = result.observation
        actions.append(action)
        held.append(result.success)
        info = {
            name: bool(value) for name, value in result.info.items() if isinstance(value, bool | np.bool_)
        }
        ever = {name: ever.get(name, False) or value for name, value in (ever | info).items()}
        if film:
            frames.append(observation.image)
        if result.truncated:
            break
    return Rollout(
        success=bool(held[-1]),
        success_ever=any(held),
        first_success=held.index(True) + 1 if any(held) else None,
        steps=len(actions),
        queries=queries,
        instruction=told,
        actions=np.stack(actions),
        frames=frames,
        info=info,
        info_ever=ever,
    )


def _gripper(robot: Robot) -> Gripper:
    return StickyGripper(robot.sticky_gripper) if robot.sticky_gripper else BinaryGripper()
