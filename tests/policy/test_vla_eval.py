"""vla-eval's frames: as its own package sent them, in both directions. golden/ holds the bytes.

They were written by `other_clients.py record` with vla-eval 0.8.0 and openpi-client 0.1.2.
"""

from pathlib import Path

import numpy as np
import pytest

from stair.errors import StairError
from stair.policy import openpi, vla_eval
from stair.policy.contract import ActionConvention
from stair.policy.dialects import asked_by, greeted_by
from stair.policy.talk import Defaults
from stair.policy.wire import unpack
from tests.fakes.other_clients import IMAGE
from tests.policy.test_dialects import SPEC

GOLDEN = Path(__file__).with_name("golden")


def recorded(name):
    return unpack((GOLDEN / f"{name}.msgpack").read_bytes())


@pytest.mark.parametrize("name", ["hello", "start", "observation"])
def test_frames_of_its_client_are_its_own(name):
    assert asked_by(recorded(f"vla_eval_client_{name}")) is vla_eval


def test_its_client_begins_an_episode_and_shows_a_png():
    hello, start, seen = (
        vla_eval.read_request(recorded(f"vla_eval_client_{name}"), Defaults(SPEC, seed=9))
        for name in ("hello", "start", "observation")
    )
    assert (hello.queries, hello.reset, hello.reply) == ((), False, None)
    assert (start.queries, start.reset) == ((), True)
    (query,) = seen.queries
    assert "__image__" in recorded("vla_eval_client_observation")["payload"]["images"]["primary"]
    assert np.array_equal(query.image, IMAGE)
    assert (query.instruction, query.seed, seen.one_action) == ("go", 9, True)


def test_its_servers_hello_becomes_a_convention():
    heard = recorded("vla_eval_server_hello")
    assert greeted_by(heard) is vla_eval
    spec = vla_eval.read_greeting(heard, "ws://h:1")
    assert (spec.name, spec.speaks, spec.unnorm_keys) == ("Counting", "vla-eval", ())
    assert spec.convention_for("bridge_orig") == ActionConvention(control_hz=0)


@pytest.mark.parametrize(
    ("part", "form", "field", "ours"),
    [
        ("rotation", "axis_angle", "rotation", "delta_axis_angle_rad"),
        ("gripper", "binary_close_positive", "gripper", "absolute_-1_open_1_close"),
        ("position", "absolute_xyz", "translation", "absolute_xyz_m"),
        ("gripper", "raw", "gripper", ""),
    ],
)
def test_its_words_for_an_action_are_understood(part, form, field, ours):
    heard = recorded("vla_eval_server_hello")
    heard["payload"]["action_spec"][part]["format"] = form
    assert getattr(vla_eval.read_greeting(heard, "").convention_for("x"), field) == ours


def test_a_server_that_states_nothing_or_another_version_is_told_apart():
    heard = recorded("vla_eval_server_hello")
    heard["payload"]["action_spec"] = {"actions": {"name": "raw", "dims": 0, "format": "raw"}}
    assert vla_eval.read_greeting(heard, "").convention_for("x") == ActionConvention(0, "", "", "", 0)
    del heard["payload"]["action_spec"]
    assert vla_eval.read_greeting(heard, "").convention_for("x") is None
    heard["payload"]["protocol_version"] = 2
    with pytest.raises(StairError, match="protocol 2, not 1"):
        vla_eval.read_greeting(heard, "ws://h:1")


def test_its_servers_answers_are_read_and_matched_with_the_question():
    answer = recorded("vla_eval_server_action")
    assert np.allclose(vla_eval.read_answer(answer, 3), [[0.001, 0.002, 0, 0, 0, 0, 1]])
    with pytest.raises(StairError, match="answered frame 3, not 4"):
        vla_eval.read_answer(answer, 4)
    with pytest.raises(StairError, match="policy server: observation_failed: no"):
        vla_eval.read_answer(recorded("vla_eval_server_error"), 3)
    with pytest.raises(StairError, match="sent 'hello' where an action belongs"):
        vla_eval.read_answer(recorded("vla_eval_server_hello"), 1)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"images": {}, "task_description": "go"}, "images: a map"),
        ({"images": {"a": IMAGE}, "task_description": ""}, "task_description"),
        ({"images": {"a": {"__image__": True, "format": "png", "data": b"no"}}}, "image that cannot be read"),
        ({"images": {"a": {"__image__": True, "format": "raw", "data": b"no"}}}, "image that cannot be read"),
        (None, "payload: a map"),
    ],
)
def test_a_wrong_observation_is_refused_by_the_fields_name(payload, words):
    with pytest.raises(StairError, match=words):
        vla_eval.read_request(vla_eval.frame("observation", payload), Defaults(SPEC))


def test_a_camera_can_be_named():
    frame = vla_eval.frame("observation", {"images": {"a": 0 * IMAGE, "b": IMAGE}, "task_description": "go"})
    (query,) = vla_eval.read_request(frame, Defaults(SPEC, image_key="b")).queries
    assert np.array_equal(query.image, IMAGE)
    with pytest.raises(StairError, match="no camera 'c'; there is: a, b"):
        vla_eval.read_request(frame, Defaults(SPEC, image_key="c"))


def test_what_openpis_package_sent_is_read_in_both_directions():
    asked = recorded("openpi_client_infer")
    assert asked_by(asked) is openpi
    (query,) = openpi.read_request(asked, Defaults(SPEC)).queries
    assert np.array_equal(query.image, IMAGE)
    assert openpi.read_answer(recorded("openpi_server_answer"), 1).shape == (10, 7)
