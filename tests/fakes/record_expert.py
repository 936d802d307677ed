"""Demonstrations of the WidowX expert, as a policy would see them; runs where mani_skill is.

python -m tests.fakes.record_expert ASSETS OUT.npz TASK [TASK ...] [--layouts 0 1] [--film FOLDER]

Writes uint8 `frames` [n, 60, 80, 3] (each before its action), float32 `actions` [n, 7], int `episode` [n],
and says how each episode ended. Actions go through the adapter, like any policy's.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from stair.sim.contract import GridPoint
from stair.sim.maniskill3 import ManiSkill3Sim
from tests.fakes.recorded_policy import thumbnail
from tests.fakes.widowx_expert import Heights, View, WidowXExpert

HEIGHTS = {
    "widowx_carrot_on_plate": Heights(grasp=0.012, release=0.055),
    "widowx_spoon_on_towel": Heights(grasp=0.002, release=0.04),
    "widowx_stack_cube": Heights(grasp=0.012, release=0.05),
}


def look(sim: ManiSkill3Sim) -> View:
    """Reads the true poses out of the simulator."""
    env = sim._env
    base = env.agent.robot.pose.sp
    hand = base * env.agent.controller.controllers["arm"]._target_pose.sp
    hand = base.inv() * hand
    thing = base.inv() * env.objs[env.source_obj_name].pose.sp
    goal = base.inv() * env.objs[env.target_obj_name].pose.sp
    turn = thing.to_transformation_matrix()[:3, :3]
    sizes = env.model_db[env.source_obj_name]["bbox"]
    size = np.array(sizes["max"]) - np.array(sizes["min"])
    sides = turn * size
    lying = np.linalg.norm(sides[:2], axis=0)
    square = np.sort(lying)[-2] > 0.8 * lying.max()  # as it stands will do
    long = np.array([1.0, 0.0]) if square else sides[:, int(np.argmax(lying))]
    return View(
        np.array(hand.p, float),
        hand.to_transformation_matrix()[:3, :3].astype(float),
        np.array(thing.p, float),
        float(np.arctan2(long[1], long[0])),
        np.array(goal.p, float),
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("assets")
    parser.add_argument("out", type=Path)
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--layouts", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--film", type=Path)
    words = parser.parse_args()
    sim = ManiSkill3Sim(render="cpu", assets=words.assets)
    frames, actions, episodes = [], [], []
    for task in words.tasks:
        for layout in words.layouts:
            started = time.perf_counter()
            seen = sim.reset(GridPoint(task, layout))
            expert = WidowXExpert(look(sim), HEIGHTS[task])
            film, phases, last = [], "", None
            while last is None or not last.truncated:
                action = expert.act(look(sim))
                frames.append(thumbnail(seen.image))
                actions.append(action)
                episodes.append(len(set(episodes)) if last is None else episodes[-1])
                last = sim.step(action)
                seen = last.observation
                phases += str(expert.phase)
                film.append(seen.image)
            took = time.perf_counter() - started
            print(f"{task} {layout}: success {last.success}, {last.info}, {phases}, {took:.1f} s", flush=True)
            if words.film:
                import imageio

                words.film.mkdir(parents=True, exist_ok=True)
                sheet = np.concatenate(
                    [np.concatenate(film[k::12][:5], 1)[::2, ::2] for k in (0, 3, 6, 9)], 0
                )
                imageio.imwrite(words.film / f"{task}_{layout}.png", sheet)
    np.savez_compressed(words.out, frames=np.stack(frames), actions=np.stack(actions), episode=episodes)
    sim.close()


if __name__ == "__main__":
    sys.exit(main())
