"""Whole episodes against the published policy's rules (upstream.md §2.6), written out step by step here.

The stand-in below is what CogACT's and WoG's SimplerEnv policies do between a model and an environment; the
model is a table of random chunks. Every action of run_episode must be the one it gives.
"""

import math

import numpy as np
import pytest

from stair.evaluate.config import EvalConfig
from stair.evaluate.rollout import make_control, run_episode
from stair.sim.contract import GridPoint, Observation, StepResult
from stair.sim.rotation import axis_angle
from stair.sim.tasks import GOOGLE, WIDOWX

STEPS = 40
CHUNKS = np.random.default_rng(3).normal(0, 0.05, (STEPS, 16, 7)).astype(np.float32)
CHUNKS[..., 6] = np.random.default_rng(4).random((STEPS, 16)) + np.sin(np.arange(STEPS) / 4)[:, None]


class Published:
    """Keeps what the published policy keeps, and forgets it when the task description changes."""

    def __init__(self, google, scale):
        self.google, self.scale, self.told = google, scale, None

    def reset(self, words):
        self.told, self.chunks = words, []
        self.previous, self.sticky, self.repeated, self.on = None, 0.0, 0, False

    def step(self, chunk, words):
        if words != self.told:
            self.reset(words)
        self.chunks = [*self.chunks, chunk.astype(float)][-(2 if self.google else 7) :]
        said = [old[len(self.chunks) - 1 - k] for k, old in enumerate(self.chunks)]
        newest = said[-1]
        weight = [
            math.exp(0.1 * (a @ newest) / (np.linalg.norm(a) * np.linalg.norm(newest) + 1e-7)) for a in said
        ]
        blended = sum(w * a for w, a in zip(weight, said, strict=True)) / sum(weight)
        vector = axis_angle(blended[3:6]) * self.scale
        return blended[:3] * self.scale, vector, self.grip(blended[6])

    def grip(self, opening):
        if not self.google:
            return 2.0 * (opening > 0.5) - 1.0
        relative = 0.0 if self.previous is None else self.previous - opening
        if self.previous is None:
            self.previous = opening
        if abs(relative) > 0.5 and not self.on:
            self.on, self.sticky, self.previous = True, relative, opening
        if self.on:
            self.repeated += 1
            relative = self.sticky
        if self.repeated == 10:
            self.on, self.repeated, self.sticky = False, 0, 0.0
        return relative


class Table:
    """A policy and a simulator in one: the picture is the number of the step, the answer its chunk."""

    spec = None

    def __init__(self):
        self.actions = []

    def words(self, step):
        return "open the drawer" if step < 17 else "place the apple"

    def observe(self):
        step = len(self.actions)
        return Observation(np.full((4, 4, 3), step, np.uint8), self.words(step))

    def reset(self, point):
        return self.observe()

    def step(self, action):
        self.actions.append(action)
        return StepResult(self.observe(), False, len(self.actions) == STEPS)

    def act(self, query):
        return CHUNKS[query.image[0, 0, 0]]

    def close(self):
        pass


@pytest.mark.parametrize("scale", [1.0, 1.3])
@pytest.mark.parametrize("robot", [WIDOWX, GOOGLE], ids=["widowx", "google"])
def test_every_action_of_an_episode_is_the_published_policys(robot, scale):
    table, config = Table(), EvalConfig(action_scale=scale)
    control = make_control(config.control, robot, execute=config.execute, alpha=config.ensemble_alpha)
    run_episode(table, robot, table, GridPoint("t", 0), control, 0, action_scale=config.action_scale)
    published = Published(robot is GOOGLE, scale)
    grips = set()
    for step, action in enumerate(table.actions):
        move, turn, grip = published.step(CHUNKS[step], table.words(step))
        grips.add(round(float(grip), 1))
        assert action[:3] == pytest.approx(move, abs=1e-6)
        assert axis_angle(action[3:6]) == pytest.approx(turn, abs=1e-6)
        mine = action[6] if robot is GOOGLE else 2 * action[6] - 1
        assert mine == pytest.approx(grip, abs=1e-6)
    assert len(grips) > 1
