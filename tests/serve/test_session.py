"""What one client hears: noise by step, one action at a time, and a robot's actions chosen on this side."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stair.errors import UsageError
from stair.policy import native, openpi, starvla, vla_eval
from stair.policy.chunks import AdaptiveEnsemble
from stair.policy.contract import Query
from stair.policy.native import query_message
from stair.policy.wire import pack, unpack
from stair.serve.batching import Batcher
from stair.serve.config import ServeConfig, check_mode
from stair.serve.session import Session, served_spec
from tests.fakes.scripted_server import ScriptedPolicy, scripted_chunk

IMAGES = [np.full((4, 4, 3), shade, np.uint8) for shade in range(8)]


def converse(messages, policy=None, **settings):
    """What a session answers to messages, one after another, each unpacked or None."""
    policy = policy or ScriptedPolicy()

    async def talk():
        batcher = Batcher(policy, 8, 0)
        batcher.join()
        answering = asyncio.create_task(batcher.run())
        session = Session(batcher, ServeConfig(**settings))
        heard = [
            await session.answer(pack(message) if isinstance(message, dict) else message)
            for message in messages
        ]
        answering.cancel()
        return [unpack(one) if isinstance(one, bytes) else one for one in heard]

    return asyncio.run(talk())


def chunk(image, seed, words="go"):
    return scripted_chunk(Query(image, words, "tabletop", seed))


def pi(image, words="go", **more):
    return {"observation/image": image, "prompt": words, **more}


def frame(image, words="go", seq=1):
    return vla_eval.frame("observation", {"images": {"a": image}, "task_description": words}, seq)


START = vla_eval.frame("episode_start", {"task": {}})


def test_noise_is_of_the_seed_and_the_step_since_the_episode_began():
    messages = [pi(IMAGES[0]), pi(IMAGES[0]), pi(IMAGES[0], "stop"), pi(IMAGES[0], "stop", reset=True)]
    first, second, other, again = (one["actions"] for one in converse(messages, seed=40))
    assert np.array_equal(first, chunk(IMAGES[0], 40))
    assert np.array_equal(second, chunk(IMAGES[0], 41))
    assert np.array_equal(other, chunk(IMAGES[0], 40, "stop"))
    assert np.array_equal(again, other)


def test_the_seed_that_a_client_of_ours_sends_is_kept():
    (answer,) = converse([query_message(Query(IMAGES[0], "go", "tabletop", 5))], seed=40)
    assert np.array_equal(answer["actions"], chunk(IMAGES[0], 5))


def test_several_examples_of_one_request_are_answered_together():
    policy = ScriptedPolicy()
    examples = [{"image": [image], "lang": "go"} for image in IMAGES[:3]]
    (answer,) = converse([{"examples": examples}], policy)
    assert [np.array_equal(one, chunk(IMAGES[k], k)) for k, one in enumerate(answer["data"]["actions"])] == [
        True
    ] * 3
    assert sum(policy.batches) == 3


def test_a_client_that_runs_one_action_gets_the_ensemble_of_its_data_set():
    policy = ScriptedPolicy()
    policy.spec = replace(policy.spec, ensemble_horizons={"tabletop": 3})
    messages = [START, *(frame(image, seq=k) for k, image in enumerate(IMAGES)), START, frame(IMAGES[0])]
    silence, *answers, silent_too, again = converse(messages, policy)
    assert (silence, silent_too) == (None, None)
    ensemble = AdaptiveEnsemble(3)
    for step, (image, answer) in enumerate(zip(IMAGES, answers, strict=True)):
        ensemble.add(chunk(image, step))
        assert answer["seq"] == step
        assert np.allclose(answer["payload"]["actions"], ensemble.next_action(), atol=1e-6)
    assert np.allclose(again["payload"]["actions"], chunk(IMAGES[0], 0)[0])


def test_a_client_that_runs_one_action_may_be_played_part_of_a_chunk():
    policy = ScriptedPolicy()
    messages = [START, *(frame(image) for image in IMAGES[:5])]
    _, *answers = converse(messages, policy, mode="robot", execute=3)
    assert sum(policy.batches) == 2
    expected = [*chunk(IMAGES[0], 0)[:3], *chunk(IMAGES[3], 3)[:2]]
    for answer, action in zip(answers, expected, strict=True):
        assert np.allclose(answer["payload"]["actions"][:6], action[:6])
        assert answer["payload"]["actions"][6] == float(action[6] > 0.5)


def test_a_robot_is_told_the_actions_it_shall_run_with_a_gripper_of_two_states():
    (answer,) = converse([pi(IMAGES[0])], mode="robot", execute=5)
    assert answer["actions"].shape == (5, 7)
    assert np.array_equal(answer["actions"][:, :6], chunk(IMAGES[0], 0)[:5, :6])
    assert np.array_equal(answer["actions"][:, 6], chunk(IMAGES[0], 0)[:5, 6] > 0.5)


@pytest.mark.parametrize("fresh", ["words", "first"])
def test_a_robots_ensemble_blends_and_forgets_with_the_episode(fresh):
    queries = [Query(image, "go", "tabletop", k) for k, image in enumerate(IMAGES)]
    words = "stop" if fresh == "words" else "go"
    queries.append(Query(IMAGES[0], words, "tabletop", 9, first=fresh == "first"))
    answers = converse([query_message(query) for query in queries], mode="robot", ensemble=7)
    ensemble = AdaptiveEnsemble(7)
    for query, answer in zip(queries[:-1], answers, strict=False):
        ensemble.add(scripted_chunk(query))
        blended = ensemble.next_action()
        assert answer["actions"].shape == (1, 7)
        assert np.allclose(answer["actions"][0, :6], blended[:6], atol=1e-6)
        assert answer["actions"][0, 6] == float(blended[6] > 0.5)
    assert np.allclose(answers[-1]["actions"][0, :6], scripted_chunk(queries[-1])[0, :6])


def test_one_robot_asks_one_question():
    examples = [{"image": [image], "lang": "go"} for image in IMAGES[:2]]
    (answer,) = converse([{"examples": examples}], mode="robot", ensemble=2)
    assert "one question at a time" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mode": "robot"}, "how shall"),
        ({"mode": "robot", "execute": 4, "ensemble": 7}, "exclude each other"),
        ({"execute": 4, "ensemble": 7}, "exclude each other"),
        ({"execute": 4}, "for --mode robot"),
        ({"mode": "robot", "execute": -1}, "count steps"),
    ],
)
def test_a_mode_that_is_none_or_two_is_refused(settings, words):
    with pytest.raises(UsageError, match=words):
        check_mode(ServeConfig(**settings))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mode": "robot", "execute": 8},
        {"mode": "robot", "ensemble": 7},
        {"speaks": "vla-eval", "execute": 4},
    ],
)
def test_a_mode_that_is_clear_is_taken(settings):
    check_mode(ServeConfig(**settings))


def test_the_handshake_says_that_actions_were_chosen_here():
    spec = ScriptedPolicy().spec
    assert served_spec(spec, ServeConfig()) == spec
    ensembled = served_spec(spec, ServeConfig(mode="robot", ensemble=7))
    assert (ensembled.control, ensembled.chunk) == ("ensembled", 1)
    executed = served_spec(spec, ServeConfig(mode="robot", execute=99))
    assert (executed.control, executed.chunk) == ("executed", 16)


@pytest.mark.parametrize("dialect", [native, openpi, starvla, vla_eval], ids=lambda one: one.NAME)
def test_a_server_of_one_protocol_hears_no_other(dialect):
    asked = {
        "stair": query_message(Query(IMAGES[0], "go", "tabletop", 0)),
        "openpi": pi(IMAGES[0]),
        "starvla": {"examples": [{"image": [IMAGES[0]], "lang": "go"}]},
        "vla-eval": frame(IMAGES[0]),
    }
    for name, message in asked.items():
        (answer,) = converse([message], speaks=dialect.NAME)
        if name == dialect.NAME:
            dialect.read_answer(answer, 1)
        elif dialect.NAME == "openpi":
            assert isinstance(answer, str)
        else:
            assert "is no request" in str(answer)


def test_refusals_are_in_the_words_of_the_protocol():
    text, error, frame_error, own = converse(
        [
            pi(IMAGES[0], ""),
            {"examples": [{"lang": "go"}]},
            vla_eval.frame("observation", {"images": {}}, 4),
            {"type": "query"},
        ]
    )
    assert text.startswith("prompt: '' came\n  try:")
    assert (error["ok"], error["status"]) == (False, "error")
    assert (frame_error["type"], frame_error["seq"]) == ("error", 4)
    assert own["type"] == "error"


names = st.sampled_from(
    [
        "type",
        "payload",
        "seq",
        "timestamp",
        "request_id",
        "examples",
        "image",
        "images",
        "lang",
        "unnorm_key",
        "seed",
        "first",
        "instruction",
        "observation/image",
        "prompt",
        "task_description",
        "observation",
        "status",
        "__image__",
        "format",
        "data",
        "reset",
    ]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.binary(max_size=3)
    | st.sampled_from(["query", "infer", "ping", "observation", "hello", "episode_start", "tabletop", "png"])
    | st.sampled_from([IMAGES[1], IMAGES[1][..., :1], IMAGES[1] / 255, np.zeros(0)]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=4),
    max_leaves=6,
)


@settings(max_examples=40)
@given(st.lists(st.dictionaries(names, values, max_size=6), max_size=8), st.booleans())
def test_whatever_is_sent_is_answered_without_an_accident(messages, robot):
    mode = {"mode": "robot", "ensemble": 2} if robot else {}
    good = query_message(Query(IMAGES[0], "go", "tabletop", 0))
    *answers, last = converse([*messages, good], **mode)
    assert not [answer for answer in answers if "the policy failed" in str(answer)]
    assert last["type"] == "actions"
