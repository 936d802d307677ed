"""A policy behind a real socket: handshake, answers, refusals, and servers that are not there."""

import http.server
import signal
import socket
import threading
from dataclasses import replace

import numpy as np
import pytest
from websockets.sync.client import connect
from websockets.sync.server import serve as serve_raw

from stair.errors import StairError, UsageError
from stair.policy import native, remote, vla_eval
from stair.policy.contract import Query
from stair.policy.remote import RemotePolicy, ServerGone
from stair.policy.wire import pack, unpack
from tests.fakes.scripted_server import ScriptedPolicy, scripted_chunk
from tests.fakes.serving import LONG_S, serving, start_process

QUERY = Query(np.arange(48, dtype=np.uint8).reshape(4, 4, 3), "put it there", "tabletop", 7)


@pytest.fixture
def raw_server():
    """Starts websocket servers that say what a test wants; gives their address."""
    running = []

    def start(handler):
        server = serve_raw(handler, "127.0.0.1", 0)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        running.append((server, thread))
        return f"ws://127.0.0.1:{server.socket.getsockname()[1]}"

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join(LONG_S)


def test_a_remote_policy_answers_as_the_policy_itself():
    policy = ScriptedPolicy()
    with serving(policy) as address:
        remote = RemotePolicy(address, timeout_s=LONG_S)
        assert remote.spec == policy.spec
        answer = remote.act(QUERY)
        remote.close()
    assert answer.dtype == np.float32
    assert np.array_equal(answer, scripted_chunk(QUERY))


def test_no_proxy_is_asked_for_an_address_on_this_machine(monkeypatch):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound but not listening: using it as a proxy fails
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ws_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{nobody.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with serving(ScriptedPolicy()) as address:
            remote = RemotePolicy(address, timeout_s=LONG_S)
            assert remote.act(QUERY).shape == (16, 7)
            remote.close()


def test_an_image_of_several_megabytes_passes():
    with serving(ScriptedPolicy()) as address:
        remote = RemotePolicy(address, timeout_s=LONG_S)
        image = np.zeros((1200, 1600, 3), np.uint8)
        assert remote.act(Query(image, "x", "tabletop", 0)).shape == (16, 7)
        remote.close()


def test_nobody_at_the_address_is_told_with_the_way_to_start_somebody():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"ws://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(ServerGone, match="no policy server answers at") as caught:
            RemotePolicy(address, timeout_s=LONG_S)
    assert "python -m stair.serve" in caught.value.hint


def test_a_killed_server_is_gone_and_not_a_traceback(tmp_path):
    process = start_process(tmp_path / "address")
    address = (tmp_path / "address").read_text().strip()
    remote = RemotePolicy(address, timeout_s=LONG_S)
    remote.act(QUERY)
    process.kill()
    process.communicate()
    with pytest.raises(ServerGone, match=f"policy server at {address} is gone") as caught:
        remote.act(QUERY)
    assert "goes on" in caught.value.hint
    remote.close()


def test_a_server_that_does_not_answer_in_time_counts_as_gone():
    late = threading.Event()

    class Late(ScriptedPolicy):
        def act_batch(self, queries):
            late.wait()
            return super().act_batch(queries)

    with serving(Late()) as address:
        remote = RemotePolicy(address, timeout_s=LONG_S)
        remote.timeout_s = 0.2
        try:
            with pytest.raises(ServerGone, match=r"no answer for 0\.2 s"):
                remote.act(QUERY)
        finally:
            late.set()
        with pytest.raises(ServerGone):  # the late answer is never taken for another query's
            remote.act(QUERY)


def test_a_server_that_reads_no_more_counts_as_gone_in_time_too(tmp_path):
    process = start_process(tmp_path / "address")
    try:
        remote = RemotePolicy((tmp_path / "address").read_text().strip(), timeout_s=LONG_S)
        process.send_signal(signal.SIGSTOP)
        remote.timeout_s = 0.2
        larger_than_what_lies_between = np.zeros((4000, 4000, 3), np.uint8)
        with pytest.raises(ServerGone, match=r"is gone \(no answer for 0\.2 s\)"):
            remote.act(replace(QUERY, image=larger_than_what_lies_between))
        remote.close()
    finally:
        process.kill()
        process.communicate()


def test_a_refusal_carries_the_servers_words_and_leaves_the_connection_usable():
    with serving(ScriptedPolicy()) as address:
        remote = RemotePolicy(address, timeout_s=LONG_S)
        with pytest.raises(StairError, match="unnorm_key") as caught:
            remote.act(Query(QUERY.image, "x", "bridge_orig", 0))
        assert not isinstance(caught.value, ServerGone)
        assert np.array_equal(remote.act(QUERY), scripted_chunk(QUERY))
        remote.close()


@pytest.mark.parametrize(
    ("greeting", "words"),
    [
        ({"type": "hello"}, "did not send a handshake"),
        ({"type": "spec", "name": "x"}, "handshake is not"),
        ("words", "did not send a handshake"),
    ],
)
def test_another_program_on_the_port_is_told_apart(raw_server, greeting, words):
    address = raw_server(lambda connection: connection.send(pack(greeting)))
    with pytest.raises(StairError, match=words):
        RemotePolicy(address, timeout_s=LONG_S)


def test_actions_of_a_wrong_shape_are_refused(raw_server):
    def handler(connection):
        connection.send(pack({"type": "spec", **ScriptedPolicy().spec.to_message()}))
        connection.recv()
        connection.send(pack({"type": "actions", "actions": np.zeros(7, np.float32)}))

    remote = RemotePolicy(raw_server(handler), timeout_s=LONG_S)
    with pytest.raises(StairError, match=r"actions of shape \(7,\)"):
        remote.act(QUERY)
    remote.close()


def test_an_answer_that_is_no_map_is_refused(raw_server):
    def handler(connection):
        connection.send(pack({"type": "spec", **ScriptedPolicy().spec.to_message()}))
        connection.recv()
        connection.send(pack([1, 2]))

    policy = RemotePolicy(raw_server(handler), timeout_s=LONG_S)
    with pytest.raises(StairError, match="sent no map but list"):
        policy.act(QUERY)
    policy.close()


def test_a_web_server_is_no_policy_server():
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with pytest.raises(StairError, match="no policy server"):
            RemotePolicy(f"ws://127.0.0.1:{server.server_address[1]}", timeout_s=LONG_S)
    finally:
        server.shutdown()
        server.server_close()


def test_an_address_that_is_none_is_wrong_use():
    with pytest.raises(UsageError, match="no address"):
        RemotePolicy("http://127.0.0.1:1")


def openpi_server(connection):
    """As openpi's documentation has it: metadata, then an answer a message, and words before it closes."""
    connection.send(pack({"reset_pose": [0.0, 0.0]}))
    for data in connection:
        observation = unpack(data)
        if "observation/image" not in observation:
            connection.send("Traceback (most recent call last):\n  …\nKeyError: 'observation/image'")
            connection.close(1011)
            return
        shade = float(observation["observation/image"].mean()) / 1e4
        actions = np.tile(np.array([shade, 0, 0, 0, 0, 0, 1.0]), (10, 1))
        connection.send(pack({"actions": actions, "server_timing": {"infer_ms": 1.0}}))


def starvla_server(connection):
    """As starVLA's: metadata, then unnormalised actions of a batch."""
    connection.send(pack({"action_chunk_size": 16, "available_unnorm_keys": ["oxe_bridge"], "env": "x"}))
    for data in connection:
        message = unpack(data)
        if message.get("unnorm_key") != "oxe_bridge":
            error = {"status": "error", "ok": False, "error": {"message": "unknown key"}}
            connection.send(pack(error))
            continue
        actions = np.zeros((len(message["examples"]), 16, 7), np.float32)
        connection.send(pack({"status": "ok", "ok": True, "data": {"actions": actions}}))


def vla_eval_server(connection):
    """As vla-eval's: silent until it is greeted."""
    for data in connection:
        message = unpack(data)
        reply = {"hello": vla_eval.greeting(ScriptedPolicy().spec), "episode_start": None}.get(
            message["type"], vla_eval.frame("action", {"actions": np.zeros(7, np.float32)}, message["seq"])
        )
        if reply is not None:
            connection.send(pack(reply, word_keys=True))


@pytest.mark.parametrize(
    ("handler", "speaks", "shape"),
    [
        (openpi_server, "openpi", (10, 7)),
        (starvla_server, "starvla", (16, 7)),
        (vla_eval_server, "vla-eval", (1, 7)),
    ],
)
@pytest.mark.parametrize("told", [True, False], ids=["told", "found out"])
def test_servers_of_other_projects_are_understood(raw_server, monkeypatch, handler, speaks, shape, told):
    monkeypatch.setattr(remote, "GREETING_S", 2.0)
    policy = RemotePolicy(raw_server(handler), timeout_s=LONG_S, speaks=speaks if told else "auto")
    assert policy.spec.speaks == speaks
    answer = policy.act(replace(QUERY, unnorm_key="bridge_orig", first=True))
    assert (answer.shape, answer.dtype) == (shape, np.float32)
    policy.close()


def test_what_an_openpi_server_says_when_it_fails_is_told_and_then_it_is_gone(raw_server):
    policy = RemotePolicy(raw_server(openpi_server), timeout_s=LONG_S, image_key="front")
    with pytest.raises(StairError, match="policy server: KeyError: 'observation/image'"):
        policy.act(QUERY)
    with pytest.raises(ServerGone):
        policy.act(QUERY)


def test_a_data_set_that_a_starvla_server_does_not_know_is_its_refusal(raw_server):
    policy = RemotePolicy(raw_server(starvla_server), timeout_s=LONG_S)
    with pytest.raises(StairError, match="policy server: unknown key"):
        policy.act(QUERY)
    assert policy.act(replace(QUERY, unnorm_key="bridge_orig")).shape == (16, 7)
    policy.close()


@pytest.mark.parametrize("speaks", ["stair", "openpi", "starvla", "vla-eval"])
@pytest.mark.parametrize("served", ["auto", "same"])
def test_our_own_server_answers_in_every_protocol(speaks, served):
    with serving(ScriptedPolicy(), speaks="auto" if served == "auto" else speaks) as address:
        policy = RemotePolicy(address, timeout_s=LONG_S, speaks=speaks)
        answer = policy.act(replace(QUERY, first=True))
        policy.close()
    expected = scripted_chunk(replace(QUERY, seed=7 if speaks == "stair" else 0))
    assert np.allclose(answer, expected[: len(answer)], atol=1e-7)
    assert len(answer) == (1 if speaks == "vla-eval" else 16)


def test_a_server_that_is_silent_to_everybody_is_gone(raw_server, monkeypatch):
    def patient(address, **settings):  # to be let in may take longer
        return connect(address, **{**settings, "open_timeout": LONG_S})

    monkeypatch.setattr(remote, "connect", patient)
    monkeypatch.setattr(remote, "GREETING_S", 0.1)
    with pytest.raises(ServerGone, match="no answer for"):
        RemotePolicy(raw_server(list), timeout_s=0.3)  # which hears all that comes, to the end


def test_a_server_that_speaks_something_else_than_told_is_refused(raw_server):
    with pytest.raises(StairError, match="did not send a handshake of stair") as caught:
        RemotePolicy(raw_server(openpi_server), timeout_s=LONG_S, speaks="stair")
    assert "--speaks" in caught.value.hint
    with pytest.raises(UsageError, match="unknown protocol"):
        RemotePolicy(raw_server(openpi_server), timeout_s=LONG_S, speaks="pi0")


def only_stair(connection):
    """Ours, told to speak nothing else: it refuses what it does not know."""
    connection.send(pack(native.greeting(ScriptedPolicy().spec)))
    for data in connection:
        asked = unpack(data)["type"] == "query"
        answer = {"type": "actions", "actions": np.zeros((16, 7), np.float32)}
        connection.send(pack(answer if asked else native.write_refusal({}, "no request", "")))


@pytest.mark.parametrize(
    ("handler", "speaks"), [(openpi_server, "openpi"), (starvla_server, "starvla"), (only_stair, "stair")]
)
def test_a_server_that_greets_late_is_met_again_by_the_name_it_gave(raw_server, monkeypatch, handler, speaks):
    """It has been taken for a silent one and was said hello to, which it fails at."""
    monkeypatch.setattr(remote, "GREETING_S", 0.1)
    hellos = []

    def late(connection):
        if not hellos:
            hellos.append(unpack(connection.recv()))
        handler(connection)

    policy = RemotePolicy(raw_server(late), timeout_s=LONG_S)
    assert [hello["type"] for hello in hellos] == ["hello"]
    assert policy.spec.speaks == speaks
    assert policy.act(replace(QUERY, unnorm_key="bridge_orig")).shape[1] == 7
    policy.close()
