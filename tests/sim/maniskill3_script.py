"""What test_maniskill3.py plays inside an interpreter that has mani_skill; prints what it saw as JSON.

python maniskill3_script.py ASSETS|none: with assets two WidowX tasks, without two that need none, two
layouts each, the first one twice, with a wild episode and another scene in between.
"""

from __future__ import annotations

import hashlib
import json
import sys

import numpy as np

from stair.sim.build import make_simulator
from stair.sim.contract import GridPoint

WIDOWX = ("widowx_carrot_on_plate", "widowx_put_eggplant_in_basket")
BARE = ("maniskill_pick_cube", "maniskill_push_cube")
DOWN_CLOSED, SIDE_OPEN = [0, 0, -0.02, 0, 0, 0, 0], [0.01, 0.02, 0, 0, 0, 0.2, 1]
TURNED = np.array([0, 0, 0, 0.2, -0.3, 0.25, 1])
SLOWLY = [1, 1, 1, 0.1, 0.1, 0.1, 1]
"""The Panda's controller turns by 0.1 rad at most in a step."""


def play(sim, task: str, layout: int, actions: list) -> dict:
    seen = sim.reset(GridPoint(task, layout))
    hand = _hand(sim)
    first = seen.image
    results = [sim.step(np.array(action, float)) for action in actions]
    turned = _hand(sim)[:3, :3] @ hand[:3, :3].T
    return {
        "first": hashlib.sha256(first.tobytes()).hexdigest()[:16],
        "last": hashlib.sha256(results[-1].observation.image.tobytes()).hexdigest()[:16],
        "tiles": first.reshape(4, 120, 4, 160, 3).mean((1, 3, 4)).round(2).tolist(),
        "shape": [*first.shape, str(first.dtype)],
        "spread": float(first.std()),
        "words": seen.instruction,
        "moved": (_hand(sim) - hand)[:3, 3].round(5).tolist(),
        "turned": turned.round(5).tolist(),
        "fingers": float(sim._env.agent.robot.get_qpos()[0, -1]),
        "success": [one.success for one in results],
        "truncated": [one.truncated for one in results],
        "info": results[-1].info,
    }


def _hand(sim) -> np.ndarray:
    """Where the controller was told to bring the hand, as a matrix in the robot's frame; float [4, 4]."""
    target = sim._env.agent.controller.controllers["arm"]._target_pose
    return target.sp.to_transformation_matrix().astype(float)


def main() -> None:
    assets = "" if sys.argv[1] == "none" else sys.argv[1]
    sim = make_simulator("maniskill3", render="cpu", max_steps=4, **({"assets": assets} if assets else {}))
    told, (one, other) = {}, WIDOWX if assets else BARE
    told["a"] = play(sim, one, 3, [DOWN_CLOSED] * 4)
    told["b"] = play(sim, one, 7, [TURNED if assets else TURNED * SLOWLY])
    told["a again"] = play(sim, one, 3, [DOWN_CLOSED] * 4)
    told["c"] = play(sim, other, 3, [SIDE_OPEN] * 2)
    told["d"] = play(sim, other, 7, [SIDE_OPEN] * 4)
    told["a after another scene"] = play(sim, one, 3, [DOWN_CLOSED] * 4)
    told["c again"] = play(sim, other, 3, [SIDE_OPEN] * 2)
    sim.close()
    print("\n" + json.dumps(told))


if __name__ == "__main__":
    main()
