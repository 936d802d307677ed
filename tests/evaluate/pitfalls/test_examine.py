"""Each planted bug is caught before episode 1, by its name; the healthy policy passes without a word."""

import hashlib
import zlib
from dataclasses import replace

import numpy as np
import pytest

from stair.errors import StairError
from stair.evaluate.config import EvalConfig
from stair.evaluate.pitfalls.answered import ANSWERED
from stair.evaluate.pitfalls.evidence import Finding
from stair.evaluate.pitfalls.examine import examine, settle
from stair.evaluate.pitfalls.stated import STATED
from stair.policy.contract import ActionConvention, PolicySpec
from stair.policy.remote import RemotePolicy
from stair.sim.contract import Observation
from stair.sim.tasks import GOOGLE, WIDOWX
from tests.fakes.scripted_server import ScriptedPolicy
from tests.fakes.serving import LONG_S, serving

BRIDGE = (
    (-0.029, -0.042, -0.026, -0.081, -0.093, -0.207, 0.0),
    (0.028, 0.041, 0.04, 0.082, 0.078, 0.204, 1.0),
)
FRACTAL = (
    (-0.225, -0.148, -0.232, -0.352, -0.419, -0.436, 0.0),
    (0.178, 0.149, 0.218, 0.589, 0.353, 0.448, 1.0),
)
"""q01 and q99 of BridgeV2 and Fractal."""
KEYS = ("bridge_orig", "fractal20220817_data")
SPEC = PolicySpec(
    name="healthy",
    chunk=16,
    image_size=224,
    unnorm_keys=KEYS,
    conventions={KEYS[0]: ActionConvention(), KEYS[1]: ActionConvention(control_hz=3.0)},
    ensemble_horizons={KEYS[0]: 7, KEYS[1]: 2},
    action_ranges={KEYS[0]: BRIDGE, KEYS[1]: FRACTAL},
)
BARE = PolicySpec("somebody's", 0, 0, (), {}, speaks="openpi", image="")
"""What a server of openpi's says: nothing."""
SEEN = Observation(
    np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8), "put carrot on plate"
)


class Planted:
    """A policy that looks, listens and repeats, with normalised actions like real data's, and one bug.

    `bug` changes physical actions [16, 7]; `look` and `hear` change what reaches the model.
    """

    def __init__(self, bug=None, spec=SPEC, look=None, hear=None, chunk=16, repeats=True):
        self.spec, self.bug, self.look, self.hear = spec, bug, look, hear
        self.chunk, self.repeats, self.asked = chunk, repeats, 0

    def act(self, query):
        self.asked += 1
        image = self.look(query.image) if self.look else query.image
        words = self.hear(query.instruction) if self.hear else query.instruction
        digest = hashlib.sha256(np.ascontiguousarray(image).tobytes() + words.encode()).digest()
        seed = query.seed if self.repeats else self.asked
        rng = np.random.default_rng([*digest[:8], seed])
        normalised = np.clip(0.4 * rng.standard_normal((self.chunk, 7)), -1, 1)
        low, high = (np.array(bound) for bound in SPEC.action_ranges.get(query.unnorm_key, BRIDGE))
        actions = 0.5 * (normalised + 1) * (high - low) + low
        actions[:, 6] = 1.0
        return (self.bug(actions, normalised) if self.bug else actions).astype(np.float32)

    def close(self):
        pass


def caught(policy, robot=WIDOWX, observation=SEEN, **settings):
    return {one.id: one.level for one in examine(policy, robot, observation, EvalConfig(**settings))}


def column(place, change):
    """A bug in some columns of an action."""

    def bug(actions, normalised):
        actions[:, place] = change(actions[:, place])
        return actions

    return bug


def stating(**changes):
    """The healthy policy's handshake, with another convention for BridgeV2."""
    conventions = {**SPEC.conventions, KEYS[0]: replace(ActionConvention(), **changes)}
    return Planted(spec=replace(SPEC, conventions=conventions))


def poses(actions, normalised):
    """Absolute poses: where the arm is, and not how it moves."""
    actions[:, :3] = [0.3, 0.05, 0.2] + np.cumsum(actions[:, :3], axis=0) / 4
    return actions


def unmade(actions, normalised):
    normalised[:, 6] = 1.0
    return normalised


def by_key(key):
    """Statistics of `key`, whatever was asked for."""

    def bug(actions, normalised):
        low, high = (np.array(bound) for bound in SPEC.action_ranges[key])
        made = 0.5 * (normalised + 1) * (high - low) + low
        made[:, 6] = 1.0
        return made

    return bug


def alternating(actions):
    return np.where(np.arange(len(actions)) < 8, -1.0, 1.0)


MOVES, TURNS, GRIP = slice(0, 3), slice(3, 6), 6

STATED_BUGS = {
    "rotation as axis-angle": (stating(rotation="delta_axis_angle_rad"), "rotation"),
    "rotation as quaternion": (stating(rotation="quaternion_xyzw", dim=8), "action-dim"),
    "gripper with 1 closed": (stating(gripper="absolute_1_close"), "gripper"),
    "gripper from -1 to 1": (stating(gripper="absolute_-1_close_1_open"), "gripper"),
    "gripper relative": (stating(gripper="relative_1_close"), "gripper"),
    "translation in mm": (stating(translation="delta_xyz_mm"), "translation"),
    "absolute poses": (stating(translation="absolute_xyz_m"), "translation"),
    "control at 3 Hz": (stating(control_hz=3.0), "control-hz"),
    "image in BGR": (Planted(spec=replace(SPEC, image="bgr_hwc_uint8")), "image-form"),
    "image as floats": (Planted(spec=replace(SPEC, image="rgb_chw_float01")), "image-form"),
    "a clip is needed": (Planted(spec=replace(SPEC, needs_clip=True)), "needs-clip"),
    "no such statistics": (Planted(spec=replace(SPEC, unnorm_keys=("libero",))), "unnorm-key"),
    "another protocol": (Planted(spec=replace(SPEC, protocol=99)), "protocol"),
    "ensembled on both sides": (Planted(spec=replace(SPEC, control="ensembled", chunk=1)), "blended-twice"),
}

ANSWERED_BUGS = {
    "NaN": (Planted(column(1, lambda a: a * np.nan)), "not-finite"),
    "infinity": (Planted(column(1, lambda a: a + np.inf)), "not-finite"),
    "a quaternion in the answer": (Planted(lambda a, n: np.hstack([a, a[:, :1]])), "action-dim"),
    "a shorter chunk than stated": (Planted(chunk=8), "chunk-size"),
    "millimetres": (Planted(column(MOVES, lambda a: 1000 * a)), "units"),
    "centimetres": (Planted(column(MOVES, lambda a: 100 * a)), "units"),
    "absolute poses in the answer": (Planted(poses), "absolute-pose"),
    "normalised actions": (Planted(unmade), "normalised"),
    "degrees": (Planted(column(TURNS, np.degrees)), "degrees"),
    "statistics of the other data set": (Planted(by_key(KEYS[1])), "wrong-statistics"),
    "a gripper from -1 to 1": (Planted(column(GRIP, alternating)), "gripper-range"),
    "a gripper from 0 to 255": (Planted(column(GRIP, lambda a: 255 * a)), "gripper-range"),
    "a seed that is ignored": (Planted(repeats=False), "unrepeatable"),
}

SAID = {
    "1 is closed": (Planted(column(GRIP, lambda a: 1 - a)), "gripper-start"),
    "relative gripper": (Planted(column(GRIP, lambda a: 0 * a)), "gripper-start"),
    "gripper in metres": (Planted(column(GRIP, lambda a: 0.04 * a)), "gripper-start"),
    "saturated image": (Planted(look=lambda image: np.clip(image.astype(float), 1, 1)), "ignores-image"),
    "lost prompt": (Planted(hear=lambda words: ""), "ignores-instruction"),
    "stands still": (Planted(column(slice(0, 6), lambda a: 0 * a)), "stands-still"),
    "meant for another horizon": (
        Planted(spec=replace(SPEC, ensemble_horizons={KEYS[0]: 2})),
        "horizon",
    ),
    "a chunk too short to blend": (Planted(chunk=4, spec=replace(SPEC, chunk=4)), "chunk-too-short"),
}


@pytest.mark.parametrize(("robot", "key"), [(WIDOWX, KEYS[0]), (GOOGLE, KEYS[1])], ids=["widowx", "google"])
def test_a_healthy_policy_passes_without_a_word(robot, key):
    assert caught(Planted(), robot) == {}
    assert caught(Planted(), robot, control="chunk", execute=8) == {}


def test_an_untrained_policy_is_not_taken_for_a_bug():
    def noise(actions, normalised):
        wild = np.random.default_rng(zlib.crc32(actions.tobytes())).standard_normal(actions.shape)
        return by_key(KEYS[0])(actions, wild) + (np.arange(7) == 6) * (wild - 1)

    levels = caught(Planted(noise)).values()
    assert "error" not in levels


@pytest.mark.parametrize(("policy", "pitfall"), STATED_BUGS.values(), ids=STATED_BUGS)
def test_a_bug_that_the_handshake_shows_is_caught_without_a_question(policy, pitfall):
    assert caught(policy)[pitfall] == "error"
    assert policy.asked == 0


@pytest.mark.parametrize(("policy", "pitfall"), ANSWERED_BUGS.values(), ids=ANSWERED_BUGS)
def test_a_bug_that_the_answers_show_is_caught_by_its_name(policy, pitfall):
    assert caught(policy) == {pitfall: "error"}


@pytest.mark.parametrize(("policy", "pitfall"), SAID.values(), ids=SAID)
def test_what_may_be_meant_is_said(policy, pitfall):
    assert caught(policy) == {pitfall: "warning"}


@pytest.mark.parametrize(
    "name", ["millimetres", "absolute poses in the answer", "normalised actions", "degrees", "NaN"]
)
def test_a_server_that_states_nothing_is_caught_by_its_answers(name):
    policy, pitfall = ANSWERED_BUGS[name]
    silent = Planted(policy.bug, spec=BARE)
    found = caught(silent)
    assert found.pop("unstated") == "warning"
    assert found == {pitfall: "error"}


def test_what_a_server_does_not_state_is_said_aloud():
    (finding,) = examine(Planted(spec=BARE), WIDOWX, SEEN, EvalConfig())
    assert (finding.id, finding.level) == ("unstated", "warning")
    assert "translation, rotation, gripper, control_hz, unnorm_key" in finding.seen
    assert "ASSUMED" in finding.means
    partly = replace(BARE, conventions={"": ActionConvention(control_hz=0)}, unnorm_keys=KEYS)
    (finding,) = examine(Planted(spec=partly), WIDOWX, SEEN, EvalConfig())
    assert finding.seen.endswith("does not state: control_hz")


def test_noise_that_nobody_can_seed_is_only_said_of_other_projects_servers():
    found = caught(Planted(spec=BARE, repeats=False))
    assert found == {"unstated": "warning", "unrepeatable": "warning"}


def test_statistics_of_another_robot_are_caught_when_they_are_asked_for():
    wrong = replace(WIDOWX, unnorm_key=KEYS[1])
    assert caught(Planted(), wrong, unnorm_key=KEYS[1]) == {
        "other-robot": "error",
        "control-hz": "error",
        "horizon": "warning",
    }


def test_too_small_steps_are_held_against_the_other_statistics():
    spec = replace(SPEC, conventions=dict.fromkeys(KEYS, ActionConvention(control_hz=3.0)))
    tiny = Planted(lambda actions, normalised: by_key(KEYS[0])(actions, normalised / 2), spec=spec)
    found = examine(tiny, GOOGLE, SEEN, EvalConfig())
    assert [(one.id, one.level) for one in found] == [("wrong-statistics", "warning")]
    assert "bridge_orig" in found[0].cure


def test_a_small_picture_is_said():
    small = Observation(np.ascontiguousarray(SEEN.image[:64, :64]), "go")
    assert caught(Planted(), observation=small) == {"image-size": "warning"}


def test_words_put_into_the_policys_ear_are_those_that_are_asked():
    heard = []
    policy = Planted(hear=lambda words: heard.append(words) or words)
    caught(policy, instruction="do nothing")
    assert heard.count("put carrot on plate") == 0
    assert heard.count("do nothing") == policy.asked - 1
    assert policy.asked == 7


def test_errors_stop_and_warnings_are_said():
    bad = Finding("units", "error", "half of all steps are longer than 9 m", "mm", "serve metres")
    odd = Finding("horizon", "warning", "2 and 7", "smoother", "report it")
    with pytest.raises(StairError, match="pitfall units: half of all steps") as stopped:
        settle([bad, replace(bad, id="degrees"), odd], EvalConfig())
    assert "(and degrees)" in stopped.value.what
    assert "--pitfalls say" in stopped.value.hint
    assert settle([odd], EvalConfig()) == ["warning: pitfall horizon: 2 and 7: smoother; try: report it"]
    assert len(settle([bad, odd], EvalConfig(pitfalls="say"))) == 2


def test_a_served_policy_is_examined_over_the_wire():
    policy = ScriptedPolicy()
    policy.spec = replace(SPEC, ensemble_horizons=SPEC.ensemble_horizons)
    with serving(policy) as address:
        remote = RemotePolicy(address, timeout_s=LONG_S)
        assert remote.spec == policy.spec
        levels = caught(remote, observation=Observation(SEEN.image[:224, :224].copy(), "go"))
        remote.close()
    assert "error" not in levels.values()


def test_every_check_has_a_planted_bug():
    checks = len(STATED) + sum(len(group) for group in ANSWERED)
    planted = {pitfall for _, pitfall in [*STATED_BUGS.values(), *ANSWERED_BUGS.values(), *SAID.values()]}
    beside = {"other-robot", "unstated", "image-size"}
    ids = planted | beside
    assert len(ids) >= 20
    assert checks <= len(ids)
