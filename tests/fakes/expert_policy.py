"""The tabletop's scripted expert as a Policy: it looks into the simulator instead of at the image."""

from __future__ import annotations

import numpy as np

from stair.policy.contract import ActionConvention, PolicySpec, Query
from stair.sim.tabletop import TabletopSim, advance
from stair.sim.tabletop_expert import expert_action

CHUNK = 16


class ExpertPolicy:
    """Answers with what the expert would do for the next 16 steps; keeps the queries it got."""

    def __init__(self, simulator: TabletopSim) -> None:
        self.simulator = simulator
        self.queries: list[Query] = []
        self.spec = PolicySpec(
            name="expert",
            chunk=CHUNK,
            image_size=64,
            unnorm_keys=("tabletop",),
            conventions={"tabletop": ActionConvention()},
        )

    def act(self, query: Query) -> np.ndarray:
        self.queries.append(query)
        simulator, state, chunk = self.simulator, self.simulator.state, []
        for _ in range(CHUNK):
            action = expert_action(state, simulator.layout, simulator.goal)
            state = advance(state, action, simulator.grasp_tolerance)
            chunk.append(action)
        return np.stack(chunk)

    def close(self) -> None:
        pass
