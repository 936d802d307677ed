"""A whole evaluation against a server that is not ours, written from openpi's documented messages."""

import threading

import numpy as np
import pytest
from websockets.sync.server import serve as serve_raw

from stair.errors import StairError
from stair.evaluate.config import EvalConfig
from stair.evaluate.evaluation import evaluate
from stair.policy.wire import pack, unpack
from tests.fakes.scripted_server import ScriptedPolicy
from tests.fakes.serving import LONG_S, serving


@pytest.fixture
def openpi_server():
    """A policy of openpi's messages that holds still; gives its address and the observations it got."""
    seen = []

    def talk(connection):
        connection.send(pack({"reset_pose": [0.0] * 7}))
        for data in connection:
            seen.append(unpack(data))
            moves = np.random.default_rng(seen[-1]["observation/image"].sum()).normal(0, 0.01, (10, 6))
            actions = np.hstack([moves, np.ones((10, 1))])
            connection.send(pack({"actions": actions, "server_timing": {"infer_ms": 0.1}}))

    server = serve_raw(talk, "127.0.0.1", 0, compression=None, max_size=None)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}", seen
    server.shutdown()
    thread.join(LONG_S)


def test_our_evaluation_drives_a_server_of_openpis_message_format(openpi_server, tmp_path):
    address, seen = openpi_server
    config = EvalConfig(
        policy=address, episodes=2, workers=1, videos=0, camera=32, run=str(tmp_path / "run"), control="chunk"
    )
    records = evaluate(config)
    assert [record.error for record in records] == ["", ""]
    assert [(record.steps, record.queries) for record in records] == [(60, 15)] * 2
    assert len(seen) >= 30
    assert {tuple(sorted(message)) for message in seen} == {("observation/image", "prompt")}
    assert all(message["observation/image"].shape == (32, 32, 3) for message in seen)
    assert records[0].instruction in {message["prompt"] for message in seen}


def settings(address, run, **more):
    return EvalConfig(
        policy=address, episodes=1, workers=1, videos=0, camera=32, run=str(run), control="chunk", **more
    )


@pytest.mark.parametrize("speaks", ["openpi", "starvla", "vla-eval"])
def test_our_evaluation_drives_our_own_server_in_every_protocol(tmp_path, speaks):
    with serving(ScriptedPolicy()) as address:
        (record,) = evaluate(settings(address, tmp_path / "run", speaks=speaks))
    assert (record.error, record.steps) == ("", 60)
    assert record.queries == (60 if speaks == "vla-eval" else 15)


class Millimetres(ScriptedPolicy):
    """The scripted policy with one bug."""

    def act_batch(self, queries):
        return super().act_batch(queries) * np.array([1000, 1000, 1000, 1, 1, 1, 1], np.float32)


def test_a_bug_stops_the_evaluation_before_its_first_episode_unless_told_otherwise(tmp_path, capfd):
    run = tmp_path / "run"
    with serving(Millimetres()) as address:
        with pytest.raises(StairError, match="pitfall units: half of all steps") as caught:
            evaluate(settings(address, run))
        assert "--pitfalls say" in caught.value.hint
        assert not list((run / "episodes").glob("*.jsonl"))
        (record,) = evaluate(settings(address, run, pitfalls="say"))
    assert record.error == ""
    assert "pitfall units" in capfd.readouterr().err
