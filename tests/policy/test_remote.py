"""A policy behind a real socket: handshake, answers, refusals, and servers that are not there."""

import http.server
import socket
import threading

import numpy as np
import pytest
from websockets.sync.server import serve as serve_raw

from stair.errors import StairError, UsageError
from stair.policy.contract import Query
from stair.policy.remote import RemotePolicy, ServerGone
from stair.policy.wire import pack
from tests.fakes.scripted_server import ScriptedPolicy, scripted_chunk
from tests.fakes.serving import serving, start_process

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
        thread.join(5)


def test_a_remote_policy_answers_as_the_policy_itself():
    policy = ScriptedPolicy()
    with serving(policy) as address:
        remote = RemotePolicy(address, timeout_s=10)
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
            remote = RemotePolicy(address, timeout_s=5)
            assert remote.act(QUERY).shape == (16, 7)
            remote.close()


def test_an_image_of_several_megabytes_passes():
    with serving(ScriptedPolicy()) as address:
        remote = RemotePolicy(address, timeout_s=10)
        image = np.zeros((1200, 1600, 3), np.uint8)
        assert remote.act(Query(image, "x", "tabletop", 0)).shape == (16, 7)
        remote.close()


def test_nobody_at_the_address_is_told_with_the_way_to_start_somebody():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"ws://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(ServerGone, match="no policy server answers at") as caught:
            RemotePolicy(address, timeout_s=5)
    assert "python -m stair.serve" in caught.value.hint


def test_a_killed_server_is_gone_and_not_a_traceback(tmp_path):
    process = start_process(tmp_path / "address")
    address = (tmp_path / "address").read_text().strip()
    remote = RemotePolicy(address, timeout_s=10)
    remote.act(QUERY)
    process.kill()
    process.communicate()
    with pytest.raises(ServerGone, match=f"policy server at {address} is gone") as caught:
        remote.act(QUERY)
    assert "goes on" in caught.value.hint
    remote.close()


def test_a_server_that_does_not_answer_in_time_counts_as_gone():
    with serving(ScriptedPolicy(delay_s=0.6)) as address:
        remote = RemotePolicy(address, timeout_s=0.2)
        with pytest.raises(ServerGone, match=r"no answer for 0\.2 s"):
            remote.act(QUERY)
        with pytest.raises(ServerGone):  # the late answer is never taken for another query's
            remote.act(QUERY)


def test_a_refusal_carries_the_servers_words_and_leaves_the_connection_usable():
    with serving(ScriptedPolicy()) as address:
        remote = RemotePolicy(address, timeout_s=10)
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
        RemotePolicy(address, timeout_s=5)


def test_actions_of_a_wrong_shape_are_refused(raw_server):
    def handler(connection):
        connection.send(pack({"type": "spec", **ScriptedPolicy().spec.to_message()}))
        connection.recv()
        connection.send(pack({"type": "actions", "actions": np.zeros(7, np.float32)}))

    remote = RemotePolicy(raw_server(handler), timeout_s=5)
    with pytest.raises(StairError, match=r"actions of shape \(7,\)"):
        remote.act(QUERY)
    remote.close()


def test_a_web_server_is_no_policy_server():
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with pytest.raises(StairError, match="no policy server"):
            RemotePolicy(f"ws://127.0.0.1:{server.server_address[1]}", timeout_s=5)
    finally:
        server.shutdown()
        server.server_close()


def test_an_address_that_is_none_is_wrong_use():
    with pytest.raises(UsageError, match="no address"):
        RemotePolicy("http://127.0.0.1:1")
