"""The server on a real socket: many clients, broken clients, health, and a clean end."""

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import numpy as np
import pytest
from websockets.sync.client import connect

from stair.errors import StairError
from stair.policy.contract import Query
from stair.policy.native import query_message, read_query
from stair.policy.remote import RemotePolicy
from stair.policy.wire import pack, unpack
from tests.fakes.scripted_server import ScriptedPolicy, scripted_chunk
from tests.fakes.serving import LONG_S, SCRIPT, serving, start_process

IMAGE = np.zeros((3, 4, 3), np.uint8)
GOOD = query_message(Query(IMAGE, "go", "tabletop", 3))


def exchange(connection, data):
    connection.send(data)
    return unpack(connection.recv(timeout=LONG_S))


@pytest.fixture
def raw():
    """A server and a bare connection to it, past the handshake."""
    with (
        serving(ScriptedPolicy()) as address,
        connect(address, compression=None, max_size=None, proxy=None) as connection,
    ):
        assert "stair" in unpack(connection.recv(timeout=LONG_S))
        yield connection


def test_many_clients_are_batched_and_each_gets_what_it_would_get_alone():
    policy, answers, all_here = ScriptedPolicy(), {}, threading.Barrier(4)
    with serving(policy, max_wait_ms=1000 * LONG_S) as address:

        def client(number):
            remote = RemotePolicy(address, timeout_s=LONG_S)
            all_here.wait(LONG_S)
            for step in range(5):
                query = Query(np.full((8, 8, 3), number, np.uint8), "go", "tabletop", step)
                answers[number, step] = (query, remote.act(query))
            remote.close()

        threads = [threading.Thread(target=client, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * LONG_S)
    assert len(answers) == 20
    for query, actions in answers.values():
        assert np.array_equal(actions, scripted_chunk(query))
    assert sum(policy.batches) == 20
    assert policy.batches[0] == 4


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"type": "dance"}, "type: 'dance'"),
        ({"image": None}, "image: an array is needed, not NoneType"),
        ({"image": IMAGE.astype(np.float32)}, "image: float32 "),
        ({"image": IMAGE[..., :1]}, "image: uint8 "),
        ({"image": IMAGE[:0]}, "image: uint8 "),
        ({"instruction": "  "}, "instruction: "),
        ({"instruction": b"go"}, "instruction: "),
        ({"unnorm_key": "tabletpo"}, "did you mean 'tabletop'"),
        ({"unnorm_key": ["tabletop"]}, "unnorm_key: "),
        ({"seed": -1}, "seed: -1"),
        ({"seed": 1.5}, "seed: 1.5"),
        ({"seed": True}, "seed: True"),
        ({"seed": 2**63}, "seed: "),
    ],
)
def test_a_wrong_request_is_answered_by_the_fields_name(raw, changes, field):
    answer = exchange(raw, pack({**GOOD, **changes}))
    assert answer["type"] == "error"
    assert field in answer["what"]
    assert exchange(raw, pack(GOOD))["type"] == "actions"


@pytest.mark.parametrize("name", ["image", "instruction", "unnorm_key", "seed"])
def test_a_missing_field_is_named(name):
    message = {key: value for key, value in GOOD.items() if key != name}
    with pytest.raises(StairError, match=f"{name}: missing"):
        read_query(message, ScriptedPolicy().spec)


@pytest.mark.parametrize("data", [b"\xc1", b"", "text", pack([1, 2]), pack("query")])
def test_bytes_that_are_no_request_do_not_end_the_connection(raw, data):
    answer = exchange(raw, data)
    assert answer["type"] == "error"
    assert answer["what"]
    answer = exchange(raw, pack(GOOD))
    assert np.array_equal(answer["actions"], scripted_chunk(Query(IMAGE, "go", "tabletop", 3)))
    assert answer["batch"] == 1
    assert answer["server_ms"] >= 0


def test_a_policy_that_breaks_is_told_to_the_client_and_the_server_lives_on(raw, caplog):
    answer = exchange(raw, pack({**GOOD, "instruction": "break"}))
    assert "the scripted policy broke" in answer["what"]
    assert "the policy failed" in caplog.text
    assert exchange(raw, pack(GOOD))["type"] == "actions"


def test_a_client_that_vanishes_in_mid_request_harms_nobody():
    with serving(ScriptedPolicy(delay_s=0.2)) as address:
        for _ in range(2):
            vanishing = connect(address, compression=None, proxy=None).__enter__()
            vanishing.recv(timeout=LONG_S)
            vanishing.send(pack(GOOD))
            vanishing.socket.close()
        remote = RemotePolicy(address, timeout_s=LONG_S)
        assert remote.act(Query(IMAGE, "go", "tabletop", 0)).shape == (16, 7)
        remote.close()


@pytest.mark.parametrize(("path", "body"), [("/healthz", b"OK"), ("/health", b'{"status": "ok"}')])
def test_health_is_told_where_each_protocol_looks(path, body):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with (
        serving(ScriptedPolicy()) as address,
        opener.open(address.replace("ws:", "http:") + path, timeout=LONG_S) as answer,
    ):
        assert answer.status == 200
        assert answer.read().strip() == body


def test_sigterm_ends_the_server_cleanly_and_takes_its_address_away(tmp_path):
    file = tmp_path / "address"
    process = start_process(file)
    try:
        address = file.read_text()
        assert address.startswith("ws://127.0.0.1:")
        assert address.endswith("\n")
        remote = RemotePolicy(address.strip(), timeout_s=LONG_S)
        remote.act(Query(IMAGE, "go", "tabletop", 0))
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=LONG_S)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "server stopped" in said
    assert "Traceback" not in said
    assert not file.exists()


def test_a_server_that_is_told_to_stop_twice_ends_as_cleanly(tmp_path):
    """Slurm tells all processes of a step, and who started this one tells it too."""
    file = tmp_path / "address"
    code = (
        "import asyncio, os, signal; from tests.fakes import scripted_server; run = asyncio.run\n"
        "def told_again(serving): run(serving); os.kill(os.getpid(), signal.SIGTERM)\n"
        "asyncio.run = told_again; scripted_server.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(file)], cwd=SCRIPT.parents[2], stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + LONG_S
        while not file.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=LONG_S)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert "server stopped" in said
    assert not file.exists()


def test_a_server_that_stops_leaves_its_successors_address_alone(tmp_path):
    """It may be slow to stop, and the next attempt of its job quick to start."""
    file = tmp_path / "address"
    process = start_process(file)
    try:
        file.write_text("ws://127.0.0.1:1\n")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LONG_S)
    finally:
        process.kill()
    assert process.returncode == 0
    assert file.read_text() == "ws://127.0.0.1:1\n"


def test_an_address_of_a_killed_server_is_not_there_while_the_next_one_loads(tmp_path):
    file = tmp_path / "address"
    file.write_text("ws://127.0.0.1:1\n")
    process = start_process(tmp_path / "other")
    port = (tmp_path / "other").read_text().strip().split(":")[-1]
    try:
        second = subprocess.run(
            [sys.executable, str(SCRIPT), str(file), "--port", port],
            env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[2])},
            capture_output=True,
            text=True,
            timeout=LONG_S,
        )
    finally:
        process.terminate()
        process.communicate()
    assert second.returncode == 1
    assert len(second.stderr.strip().splitlines()) == 2
    assert "cannot listen on 127.0.0.1:" in second.stderr
    assert not file.exists()
