"""One policy, one episode: what counts as success, what is asked, and that it repeats."""

from dataclasses import replace

import numpy as np
import pytest

from stair.evaluate.config import EvalConfig
from stair.evaluate.rollout import make_control, query_seed, run_episode
from stair.policy.chunks import AdaptiveEnsemble, ChunkPlayer
from stair.policy.contract import ActionConvention
from stair.sim.contract import GridPoint, Observation, Robot, StepResult
from stair.sim.rotation import axis_angle
from stair.sim.tabletop import TabletopSim
from stair.sim.tasks import GOOGLE, TABLETOP, WIDOWX
from tests.fakes.expert_policy import ExpertPolicy
from tests.fakes.scripted_server import ScriptedPolicy, scripted_chunk

POINT = GridPoint("tabletop_put_block", 100001)


class ScriptedSim:
    """Success and instructions as told, step by step; keeps the actions it got."""

    def __init__(self, holds, words=None):
        self.holds, self.words = holds, words or ["go"] * (len(holds) + 1)
        self.actions = []

    def _observe(self):
        step = len(self.actions)
        return Observation(np.full((4, 4, 3), step, np.uint8), self.words[step])

    def reset(self, point):
        self.actions = []
        return self._observe()

    def step(self, action):
        self.actions.append(action)
        ended = len(self.actions) == len(self.holds)
        return StepResult(self._observe(), self.holds[len(self.actions) - 1], truncated=ended)

    def close(self):
        pass


class Listening(ScriptedPolicy):
    """Keeps the queries it got."""

    def __init__(self):
        super().__init__()
        self.queries = []

    def close(self):
        pass

    def act(self, query):
        self.queries.append(query)
        return scripted_chunk(query)


ROBOT = Robot(ActionConvention(), "tabletop", 7)


def play(simulator, policy=None, control=None, robot=ROBOT, **settings):
    policy = policy or Listening()
    return run_episode(simulator, robot, policy, POINT, control or ChunkPlayer(1), 5, **settings)


@pytest.mark.parametrize("kind", ["ensemble", "chunk"])
def test_the_expert_succeeds_through_the_whole_loop(kind):
    simulator = TabletopSim(image_size=32)
    policy = ExpertPolicy(simulator)
    control = make_control(kind, TABLETOP, execute=4, alpha=0.1)
    rollout = run_episode(simulator, TABLETOP, policy, POINT, control, 0)
    assert rollout.success
    assert rollout.success_ever
    assert rollout.steps == 60
    assert rollout.first_success is not None
    assert 5 < rollout.first_success < 60
    assert rollout.queries == len(policy.queries) == (60 if kind == "ensemble" else 15)
    assert rollout.actions.shape == (60, 7)
    assert not rollout.frames


def test_success_is_the_last_steps_and_ever_is_kept_beside_it():
    lost = play(ScriptedSim([False, True, True, False]))
    assert (lost.success, lost.success_ever, lost.first_success) == (False, True, 2)
    never = play(ScriptedSim([False, False]))
    assert (never.success, never.success_ever, never.first_success) == (False, False, None)
    late = play(ScriptedSim([False, True]))
    assert (late.success, late.success_ever, late.first_success) == (True, True, 2)


def test_an_early_success_does_not_end_the_episode():
    assert play(ScriptedSim([True, True, False, True, True])).steps == 5


def test_queries_carry_image_words_and_a_seed_of_their_own():
    policy = Listening()
    play(ScriptedSim([False] * 4), policy)
    assert [query.image[0, 0, 0] for query in policy.queries] == [0, 1, 2, 3]
    assert {query.instruction for query in policy.queries} == {"go"}
    assert {query.unnorm_key for query in policy.queries} == {"tabletop"}
    assert [query.seed for query in policy.queries] == [query_seed(5, POINT.key, step) for step in range(4)]


def test_query_seeds_differ_by_run_point_and_step_and_fit_the_protocol():
    seeds = {query_seed(run, key, step) for run in range(4) for key in ("a", "b") for step in range(50)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert query_seed(0, "tabletop_put_block/ep0000", 0) == 8114170392675487144  # stable over versions


def test_a_new_instruction_is_heard_at_once_and_voids_what_was_planned():
    policy = Listening()
    words = ["open"] * 3 + ["place"] * 4
    rollout = play(ScriptedSim([False] * 6, words), policy, ChunkPlayer(5))
    assert [query.instruction for query in policy.queries] == ["open", "place"]
    assert [query.image[0, 0, 0] for query in policy.queries] == [0, 3]
    assert rollout.instruction == "place"


def test_other_words_may_be_put_into_the_policys_ear():
    policy = Listening()
    rollout = play(ScriptedSim([False] * 2), policy, instruction="do nothing")
    assert {query.instruction for query in policy.queries} == {"do nothing"}
    assert rollout.instruction == "do nothing"


def test_the_scale_changes_motion_and_not_the_gripper():
    plain, doubled = ScriptedSim([False] * 5), ScriptedSim([False] * 5)
    play(plain)
    play(doubled, action_scale=2.0)
    for one, two in zip(plain.actions, doubled.actions, strict=True):
        assert np.allclose(two[:3], 2 * one[:3])
        assert np.allclose(axis_angle(two[3:6]), 2 * axis_angle(one[3:6]))
        assert two[6] == one[6]
        assert one[6] in (0.0, 1.0)


def test_a_sticky_robot_gets_relative_gripper_commands():
    class Closing(Listening):
        def act(self, query):
            chunk = np.zeros((16, 7), np.float32)
            chunk[:, 6] = 1.0 if query.image[0, 0, 0] < 2 else 0.0
            return chunk

    simulator = ScriptedSim([False] * 8)
    play(simulator, Closing(), robot=replace(ROBOT, sticky_gripper=3))
    assert [action[6] for action in simulator.actions] == [0, 0, 1, 1, 1, 0, 0, 0]


def test_an_episode_repeats_bit_for_bit_whatever_was_played_before():
    simulator = TabletopSim(image_size=32)
    control = AdaptiveEnsemble(7)
    first = play(simulator, control=control)
    run_episode(simulator, ROBOT, Listening(), GridPoint("tabletop_put_block", 7), control, 1)
    again = play(simulator, control=control)
    assert np.array_equal(first.actions, again.actions)


def test_a_filmed_episode_keeps_the_frame_before_and_after_every_step():
    rollout = play(ScriptedSim([False] * 3), film=True)
    assert [frame[0, 0, 0] for frame in rollout.frames] == [0, 1, 2, 3]


def test_fixed_noise_is_the_same_at_every_step_and_in_every_episode():
    policy = Listening()
    play(ScriptedSim([False] * 3), policy, noise="fixed")
    run_episode(ScriptedSim([False]), ROBOT, policy, GridPoint("t", 3), ChunkPlayer(1), 5, noise="fixed")
    assert len({query.seed for query in policy.queries}) == 1
    assert policy.queries[0].seed == query_seed(5, "fixed", 0)
    run_episode(ScriptedSim([False]), ROBOT, policy, POINT, ChunkPlayer(1), 6, noise="fixed")
    assert policy.queries[-1].seed != policy.queries[0].seed


def test_a_query_says_whether_an_episode_or_an_instruction_begins():
    policy = Listening()
    play(ScriptedSim([False] * 5, ["open"] * 3 + ["place"] * 3), policy)
    assert [query.first for query in policy.queries] == [True, False, False, True, False]


def test_a_new_instruction_lets_go_of_a_sticky_gripper():
    class Closing(Listening):
        def act(self, query):
            chunk = np.zeros((16, 7), np.float32)
            chunk[:, 6] = 1.0 if query.image[0, 0, 0] < 1 else 0.0
            return chunk

    simulator = ScriptedSim([False] * 6, ["open"] * 3 + ["place"] * 4)
    play(simulator, Closing(), robot=replace(ROBOT, sticky_gripper=10))
    assert [action[6] for action in simulator.actions] == [0, 1, 1, 0, 0, 0]


@pytest.mark.parametrize(("robot", "horizon", "sticky"), [(WIDOWX, 7, 0), (GOOGLE, 2, 10), (TABLETOP, 2, 0)])
def test_robots_are_controlled_as_published(robot, horizon, sticky):
    control = make_control("ensemble", robot, execute=4, alpha=EvalConfig().ensemble_alpha)
    assert isinstance(control, AdaptiveEnsemble)
    assert (control._chunks.maxlen, control.alpha) == (horizon, 0.1)
    assert robot.sticky_gripper == sticky


def test_the_policy_sees_the_simulators_picture_as_it_is():
    policy, simulator = Listening(), TabletopSim(image_size=96)
    first = simulator.reset(POINT).image.copy()
    run_episode(simulator, ROBOT, policy, POINT, ChunkPlayer(60), 0)
    assert (policy.queries[0].image.dtype, policy.queries[0].image.shape) == (np.uint8, (96, 96, 3))
    assert np.array_equal(policy.queries[0].image, first)
