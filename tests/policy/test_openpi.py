"""openpi's observations have the keys of a robot; all documented ones are found, others can be named."""

import numpy as np
import pytest

from stair.errors import StairError
from stair.policy import openpi
from stair.policy.contract import Query
from stair.policy.talk import Conversation, Defaults
from tests.policy.test_dialects import SPEC

RGB = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)


def read(message, **settings):
    (query,) = openpi.read_request(message, Defaults(SPEC, **settings)).queries
    return query


@pytest.mark.parametrize(
    "observation",
    [
        {"observation/image": RGB, "observation/wrist_image": 0 * RGB, "observation/state": np.zeros(8)},
        {"observation/exterior_image_1_left": RGB, "observation/joint_position": np.zeros(7)},
        {"images": {"cam_high": RGB.transpose(2, 0, 1), "cam_low": 0 * RGB}, "state": np.zeros(14)},
        {"observation": {"image": RGB}},
    ],
    ids=["libero", "droid", "aloha", "nested"],
)
def test_the_scene_is_found_in_the_documented_observations(observation):
    query = read({**observation, "prompt": "go"}, seed=5)
    assert np.array_equal(query.image, RGB)
    assert (query.instruction, query.seed) == ("go", 5)


def test_other_keys_can_be_named():
    message = {"front": {"rgb": RGB}, "observation/image": 0 * RGB, "task": "go"}
    query = read(message, image_key="front/rgb", prompt_key="task")
    assert np.array_equal(query.image, RGB)


def test_what_is_missing_is_told_with_what_there_is():
    with pytest.raises(StairError, match="there is: front, prompt") as caught:
        read({"front": RGB, "prompt": "go"})
    assert "--image_key" in caught.value.hint
    with pytest.raises(StairError, match="prompt: None came"):
        read({"observation/image": RGB})


def test_a_client_puts_image_and_words_where_the_server_looks():
    spec = openpi.read_greeting({}, "ws://h:1")
    query = Query(RGB, "go", "bridge_orig", 0)
    assert (spec.name, spec.speaks, spec.conventions, spec.unnorm_keys) == ("ws://h:1", "openpi", {}, ())
    (plain,) = openpi.write_query(query, Conversation(spec), 1)
    assert set(plain) == {"observation/image", "prompt"}
    (aloha,) = openpi.write_query(query, Conversation(spec, "images/cam_high", "task"), 1)
    assert aloha["images"]["cam_high"].shape == (3, 4, 5)
    assert aloha["task"] == "go"


def test_a_single_action_is_a_chunk_of_one_and_no_action_is_refused():
    assert openpi.read_answer({"actions": np.zeros(7)}, 1).shape == (1, 7)
    with pytest.raises(StairError, match="no actions but: status, ok") as caught:
        openpi.read_answer({"status": "error", "ok": False}, 1)
    assert "--speaks" in caught.value.hint
    for answer in ({}, {"actions": np.zeros((1, 2, 7))}, {"actions": "none"}, {"actions": np.zeros((0, 7))}):
        with pytest.raises(StairError, match="sent"):
            openpi.read_answer(answer, 1)
