"""A policy server that plays the tabletop well without a model: it knows the episode by its seed.

Takes queries of evaluations with seed 0, hands out the scripted expert's actions. Every query carries a seed
made of grid point and step, so a table of all of them says which moment of which episode is meant. The
surprise: it errs on purpose in a third of the episodes, so that a comparison has successes and failures; the
answer depends on nothing but the query.
"""

from __future__ import annotations

import os
import sys

import numpy as np

from stair import console, settings
from stair.evaluate.rollout import query_seed
from stair.policy.contract import ActionConvention, PolicySpec, Query
from stair.serve.config import ServeConfig
from stair.serve.server import run_server
from stair.sim.contract import GridPoint
from stair.sim.tabletop import TabletopSim, advance
from stair.sim.tabletop_expert import expert_action
from stair.sim.tasks import find_task

CHUNK = 16
KEPT = 32
"""Episodes whose actions are kept: those of several simulators at work."""
TASK = "tabletop_put_block"
EPISODES = "CLAIRVOYANT_EPISODES"
"""Variable: how many episodes, from the task's first layout on, it can know."""


class Clairvoyant:
    """The policy."""

    def __init__(self, episodes: int) -> None:
        self.spec = PolicySpec(
            name="clairvoyant",
            chunk=CHUNK,
            image_size=64,
            unnorm_keys=("tabletop",),
            conventions={"tabletop": ActionConvention()},
        )
        task = find_task("tabletop", TASK)
        self.moments = {
            query_seed(0, point.key, step): (point, step)
            for number in range(episodes)
            for point in [GridPoint(TASK, task.first + number)]
            for step in range(0, task.step_limit, CHUNK)
        }
        self.simulator = TabletopSim(image_size=16)
        self.known: dict[GridPoint, np.ndarray] = {}

    def act_batch(self, queries: list[Query]) -> np.ndarray:
        """The expert's next 16 actions for each, float32 [n, 16, 7]."""
        return np.stack([self.act(query) for query in queries])

    def act(self, query: Query) -> np.ndarray:
        """One answer, float32 [16, 7]; to a seed of no episode (evaluate/pitfalls asks) some motion."""
        if query.seed not in self.moments:
            dice = np.random.default_rng([query.seed, *query.image.sum((0, 1)), *query.instruction.encode()])
            return dice.uniform(-0.02, 0.02, (CHUNK, 7)).astype(np.float32)
        point, step = self.moments[query.seed]
        if point not in self.known:
            self.known = {**dict(list(self.known.items())[-KEPT:]), point: self.way(point)}
        return self.known[point][step : step + CHUNK]

    def way(self, point: GridPoint) -> np.ndarray:
        """All actions of an episode, float32 [80, 7]."""
        simulator = self.simulator
        simulator.reset(point)
        state, actions = simulator.state, []
        clumsy = point.episode_id % 3 == 1
        for step in range(5 * CHUNK):
            action = expert_action(state, simulator.layout, simulator.goal)
            if clumsy and step > 10:
                action[6] = 1.0  # never closes again
            state = advance(state, action, simulator.grasp_tolerance)
            actions.append(action)
        return np.stack(actions)


def main() -> None:
    tree = settings.override({}, settings.parse_overrides(sys.argv[1:]))
    config = settings.build(ServeConfig, tree)
    run_server(lambda: Clairvoyant(int(os.environ.get(EPISODES, "2000"))), config)


if __name__ == "__main__":
    sys.exit(console.run_command(main))
