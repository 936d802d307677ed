"""starVLA's messages: names of data sets, batches of examples, and answers that are refused."""

from dataclasses import replace

import numpy as np
import pytest

from stair.errors import StairError
from stair.policy import starvla
from stair.policy.contract import ActionConvention, Query
from stair.policy.talk import Chunks, Conversation, Defaults
from tests.policy.test_dialects import SPEC

RGB = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
BRIDGE = replace(SPEC, unnorm_keys=("bridge_orig",), conventions={"bridge_orig": ActionConvention()})
METADATA = {
    "env": "starvla_policy_server",
    "ckpt_path": "checkpoints/steps_50000_pytorch_model.pt",
    "action_chunk_size": 16,
    "available_unnorm_keys": ["oxe_bridge", "oxe_rt1"],
    "default_unnorm_key": None,
    "training_obs_image_size": [224, 224],
}


def test_the_servers_metadata_become_a_handshake_as_far_as_they_say():
    spec = starvla.read_greeting(METADATA, "ws://h:1")
    assert (spec.chunk, spec.image_size, spec.speaks) == (16, 224, "starvla")
    assert set(spec.unnorm_keys) == {"oxe_bridge", "oxe_rt1", "bridge_orig", "fractal20220817_data"}
    assert spec.convention_for("bridge_orig") is None
    assert starvla.greets(METADATA)
    assert starvla.greets({"env": "simpler_env"})  # all that its older servers say
    assert not starvla.greets({"env": "x", "policy": "pi0"})
    bare = starvla.read_greeting({"action_chunk_size": 8}, "ws://h:1")
    assert (bare.name, bare.unnorm_keys, bare.image_size) == ("ws://h:1", (), 0)


@pytest.mark.parametrize(("ours", "theirs"), [("bridge_orig", "oxe_bridge"), ("oxe_rt1", "oxe_rt1")])
def test_a_data_set_is_asked_for_by_the_name_the_server_knows(ours, theirs):
    talk = Conversation(starvla.read_greeting(METADATA, ""))
    (asked,) = starvla.write_query(Query(RGB, "go", ours, 0), talk, 1)
    assert asked["unnorm_key"] == theirs
    assert asked["examples"][0]["lang"] == "go"


def test_clients_may_use_their_names_a_payload_and_several_examples():
    examples = [{"image": [RGB], "lang": "go"}, {"image": [RGB + 1], "lang": "stop"}]
    message = {
        "type": "infer",
        "request_id": "7",
        "payload": {"examples": examples, "unnorm_key": "oxe_bridge"},
    }
    assert starvla.asks(message)
    request = starvla.read_request(message, Defaults(BRIDGE, seed=3))
    assert [(one.instruction, one.unnorm_key, one.seed) for one in request.queries] == [
        ("go", "bridge_orig", 3),
        ("stop", "bridge_orig", 4),
    ]
    answer = starvla.write_answer(request, Chunks([np.zeros((16, 7)), np.ones((16, 7))]))
    assert (answer["ok"], answer["status"], answer["request_id"]) == (True, "ok", "7")
    assert answer["data"]["actions"].shape == (2, 16, 7)


def test_a_ping_is_answered_without_the_policy():
    request = starvla.read_request({"type": "ping", "request_id": "a"}, Defaults(BRIDGE))
    assert request.queries == ()
    assert request.reply == {"status": "ok", "ok": True, "type": "ping", "request_id": "a"}


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"type": "infer"}, "examples: a list"),
        ({"examples": []}, "examples: a list"),
        ({"examples": [{"lang": "go"}]}, r"examples\[0\].image: an array"),
        ({"examples": [{"image": [RGB], "lang": ""}]}, r"examples\[0\].lang"),
        ({"examples": [{"image": RGB, "lang": "go"}], "unnorm_key": "oxe_rt1"}, "unnorm_key: "),
    ],
)
def test_a_wrong_request_is_refused_by_the_fields_name(message, words):
    with pytest.raises(StairError, match=words):
        starvla.read_request(message, Defaults(BRIDGE))


def test_normalised_actions_of_an_older_server_are_refused():
    with pytest.raises(StairError, match="normalised actions"):
        starvla.read_answer({"status": "ok", "data": {"normalized_actions": np.zeros((1, 16, 7))}}, 1)
    with pytest.raises(StairError, match="policy server: out of memory"):
        starvla.read_answer({"status": "error", "ok": False, "error": {"message": "out of memory"}}, 1)
    with pytest.raises(StairError, match="sent no actions"):
        starvla.read_answer({"status": "ok", "ok": True, "data": {}}, 1)
