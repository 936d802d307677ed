"""Whose message it is, and that both sides of every protocol mean the same."""

from dataclasses import replace

import numpy as np
import pytest

from stair.errors import StairError, UsageError
from stair.policy.contract import ActionConvention, PolicySpec, Query
from stair.policy.dialects import DIALECTS, asked_by, find_dialect, greeted_by, greeting
from stair.policy.talk import Chunks, Conversation, Defaults
from stair.policy.wire import pack, unpack

SPEC = PolicySpec(
    "p",
    16,
    64,
    ("tabletop",),
    {"tabletop": ActionConvention()},
    ensemble_horizons={"tabletop": 2},
    action_ranges={"tabletop": ((-0.1,) * 7, (0.1,) * 7)},
)
QUERY = Query(np.arange(60, dtype=np.uint8).reshape(4, 5, 3), "put it there", "tabletop", 7, first=True)
CHUNK = np.linspace(-1, 1, 112, dtype=np.float32).reshape(16, 7)


def travelled(message, dialect):
    return unpack(pack(message, word_keys=dialect.WORD_KEYS))


def told(dialect):
    """What a client of ours knows after a greeting of that protocol."""
    return Conversation(dialect.read_greeting(travelled(dialect.greeting(SPEC), dialect), "ws://h:1"))


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_what_our_client_asks_is_what_our_server_reads(dialect):
    *before, asked = [travelled(one, dialect) for one in dialect.write_query(QUERY, told(dialect), 3)]
    for message in [*before, asked]:
        assert asked_by(message) is dialect
    request = dialect.read_request(asked, Defaults(SPEC, seed=7))
    (query,) = request.queries
    assert np.array_equal(query.image, QUERY.image)
    assert (query.instruction, query.unnorm_key, query.seed) == ("put it there", "tabletop", 7)
    if dialect.NAME == "vla-eval":
        start = dialect.read_request(before[0], Defaults(SPEC))
        assert (start.reset, start.queries) == (True, ())


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_what_our_server_answers_is_what_our_client_reads(dialect):
    asked = travelled(dialect.write_query(QUERY, told(dialect), 3)[-1], dialect)
    request = dialect.read_request(asked, Defaults(SPEC))
    answer = travelled(dialect.write_answer(request, Chunks([CHUNK], 1.5, 2)), dialect)
    read = dialect.read_answer(answer, 3)
    assert np.array_equal(read, CHUNK[:1] if request.one_action else CHUNK)


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_a_refusal_carries_what_and_hint(dialect):
    refusal = dialect.write_refusal({"seq": 3, "request_id": "a"}, "no image", "send one")
    if isinstance(refusal, str):
        assert refusal == "no image\n  try: send one"
        return
    with pytest.raises(StairError, match="policy server: no image") as caught:
        dialect.read_answer(travelled(refusal, dialect), 3)
    assert "send one" in str(caught.value)


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_every_protocols_client_finds_its_own_in_the_greeting_for_all(dialect):
    heard = travelled(greeting(SPEC), dialect)
    assert greeted_by(heard, dialect.NAME) is dialect
    spec = dialect.read_greeting(heard, "ws://h:1")
    assert spec.speaks == dialect.NAME
    if dialect.NAME != "stair":
        assert spec.action_ranges == {}
    assert greeted_by(heard).NAME == "stair"
    assert find_dialect("stair").read_greeting(heard, "") == SPEC


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_a_server_of_one_protocol_is_recognised_by_its_greeting(dialect):
    assert greeted_by(travelled(greeting(SPEC, dialect.NAME), dialect)).NAME in (
        # openpi's metadata are whatever their author wrote; our own says who we are
        {"stair"} if dialect.NAME == "openpi" else {dialect.NAME}
    )


def test_metadata_that_say_nothing_are_an_openpi_servers():
    assert greeted_by({}).NAME == "openpi"
    assert greeted_by({"reset_pose": [0, 0]}).NAME == "openpi"
    assert greeted_by({"type": "hello"}) is None
    assert greeted_by("words") is None
    assert greeted_by({"action_chunk_size": 16}, "stair") is None


def test_a_message_that_is_nobodys_is_refused():
    with pytest.raises(StairError, match="type: 'dance' is no request"):
        asked_by({"type": "dance"})
    with pytest.raises(StairError, match="not list"):
        asked_by([1])
    with pytest.raises(StairError, match="is no request"):
        asked_by({"type": "query"}, "starvla")
    with pytest.raises(UsageError, match="unknown protocol 'open-pi'"):
        find_dialect("open-pi")


def test_a_data_set_must_be_named_where_there_are_several():
    two = replace(SPEC, unnorm_keys=("bridge_orig", "tabletop"))
    assert Defaults(SPEC).key() == "tabletop"
    assert Defaults(two, unnorm_key="bridge_orig").key() == "bridge_orig"
    assert Defaults(two, unnorm_key="bridge_orig").key("tabletop") == "tabletop"
    with pytest.raises(StairError, match="not given") as caught:
        Defaults(two).key()
    assert "--unnorm_key" in caught.value.hint
    with pytest.raises(StairError, match="did you mean 'tabletop'"):
        Defaults(two).key("tabletpo")
    with pytest.raises(StairError, match="came"):
        Defaults(two).key(np.zeros(2))
