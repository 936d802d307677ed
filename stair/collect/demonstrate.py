"""One demonstration: the expert acts, noise pushes, the clean actions are recorded.

Takes a CollectConfig and the number of a demonstration, hands on its steps as RLDS wants them. Everything
follows from those two, so demonstrations may be made in any process and any order. The surprise: what is
recorded is not what was executed. Noise pushes the gripper about (DART, Laskey et al. 2017), and some
demonstrations are first drawn towards the wrong block; the record says what would have been right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stair.collect.config import CollectConfig, layout_of
from stair.errors import StairError
from stair.sim.tabletop import TabletopSim
from stair.sim.tabletop_expert import expert_action
from stair.sim.tabletop_layout import Goal, Start, draw_start, phrase

Step = dict[str, Any]

_SEED = 86028
_ATTEMPTS = 20
_STEP_LIMIT = 60


@dataclass(frozen=True)
class Demonstration:
    """A successful episode in the form of the data set."""

    steps: list[Step]
    metadata: dict[str, Any]


def demonstrate(config: CollectConfig, index: int) -> Demonstration:
    """Makes the index-th demonstration, always a successful one.

    Raises StairError when the expert fails with every draw of the noise.
    """
    layout_id = layout_of(config, index)
    start = draw_start(layout_id)
    turn = index % config.instructions_per_layout
    goal = goals_in_turn(start)[turn]
    words = phrase(start.layout, goal, start.template + turn)
    simulator = TabletopSim(config.image_size, config.grasp_tolerance)
    for attempt in range(_ATTEMPTS):
        simulator.begin(start.layout, goal, words, _STEP_LIMIT)
        rng = np.random.default_rng([_SEED, config.seed, index, attempt])
        steps = _run(simulator, rng, config)
        if steps:
            place = f"tabletop/ep{layout_id:05d}/goal{turn}"
            return Demonstration(steps, {"file_path": place, "episode_id": index})
    raise StairError(
        f"the expert failed {_ATTEMPTS} times on layout {layout_id}", hint="ask for less --noise"
    )


def goals_in_turn(start: Start) -> list[Goal]:
    """All four goals of a layout: its own, the one that shares nothing with it, then the mixed ones."""
    own, other = start.goal, start.goal.swapped()
    return [own, other, Goal(own.block, other.target), Goal(other.block, own.target)]


def _run(simulator: TabletopSim, rng: np.random.Generator, config: CollectConfig) -> list[Step]:
    """The recorded steps up to `stay` after success, or none when the expert did not get that far."""
    steps: list[Step] = []
    observation = simulator.observe()
    stayed = -1
    lost = int(rng.integers(1, config.wander_steps + 1)) if rng.random() < config.wander else 0
    for number in range(_STEP_LIMIT):
        state = simulator.state
        action = expert_action(state, simulator.layout, simulator.goal)
        steps.append(_step(observation.image, state.proprio, action, simulator.instruction))
        executed = astray(simulator) if number < lost else action.copy()
        executed[:3] += rng.normal(0.0, config.noise, size=3)
        result = simulator.step(executed)
        observation = result.observation
        stayed = stayed + 1 if result.success else -1
        if stayed == config.stay:
            steps[0]["is_first"] = True
            steps[-1].update(is_last=True, is_terminal=True, reward=1.0)
            return steps
    return []


def astray(simulator: TabletopSim) -> np.ndarray:
    """A step towards the block that was not asked for, fingers open."""
    wrong = Goal(1 - simulator.goal.block, simulator.goal.target)
    action = expert_action(simulator.state, simulator.layout, wrong)
    action[6] = 1.0
    return action


def _step(image: np.ndarray, state: np.ndarray, action: np.ndarray, instruction: str) -> Step:
    return {
        "observation": {"image_0": image, "state": state},
        "action": action,
        "language_instruction": instruction,
        "is_first": False,
        "is_last": False,
        "is_terminal": False,
        "reward": 0.0,
        "discount": 1.0,
    }
