"""Other projects' own packages drive our server, and ours drives theirs. They live in an environment of their
own (tools/reference_venv.py clients), which is made on the first run."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from stair.errors import StairError
from stair.policy.chunks import AdaptiveEnsemble
from stair.policy.contract import Query
from stair.policy.remote import RemotePolicy
from tests.fakes import other_clients
from tests.fakes.other_clients import IMAGE
from tests.fakes.scripted_server import ScriptedPolicy, scripted_chunk
from tests.fakes.serving import LONG_S, serving

MAKER = Path(__file__).resolve().parents[2] / "tools" / "reference_venv.py"


@pytest.fixture(scope="module")
def their_python():
    done = subprocess.run(
        [sys.executable, str(MAKER), "clients"], capture_output=True, text=True, timeout=600
    )
    if done.returncode:
        pytest.skip(f"no package index for openpi-client and vla-eval: {done.stderr.strip()[-200:]}")
    return [done.stdout.strip(), other_clients.__file__]


def drive(their_python, kind, **settings):
    with serving(ScriptedPolicy(), **settings) as address:
        done = subprocess.run(
            [*their_python, kind, address], capture_output=True, text=True, timeout=600, check=False
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def chunk(seed):
    return scripted_chunk(Query(IMAGE, "go", "tabletop", seed))


def test_openpis_client_drives_our_server(their_python):
    said = drive(their_python, "openpi")
    assert {"stair", "policy", "action_chunk_size"} <= set(said["keys"])
    assert np.allclose(said["actions"], [chunk(0), chunk(1)])
    assert said["timed"]
    assert "no image at observation/image" in said["error"]
    assert np.allclose(said["broken_up"], chunk(2)[:2])


def test_openpis_client_drives_a_robots_server(their_python):
    said = drive(their_python, "openpi", mode="robot", execute=4)
    assert np.array(said["actions"]).shape == (2, 4, 7)
    assert np.allclose(np.array(said["actions"])[0, :, :6], chunk(0)[:4, :6])
    assert set(np.array(said["actions"])[..., 6].flat) <= {0.0, 1.0}


def test_vla_evals_client_drives_our_server(their_python):
    said = drive(their_python, "vla-eval")
    assert said["server"]["action_spec"]["rotation"]["format"] == "euler_xyz"
    ensemble, expected = AdaptiveEnsemble(2), []
    for step in range(3):
        ensemble.add(chunk(step))
        expected.append(ensemble.next_action())
    assert np.allclose(said["actions"], [expected, expected], atol=1e-6)
    assert "images: a map of cameras" in said["error"]


def test_our_client_drives_a_server_of_vla_evals(their_python, tmp_path):
    file = tmp_path / "port"
    process = subprocess.Popen(
        [*their_python, "vla-eval-server", str(file)], stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + LONG_S
        while not (file.exists() and file.read_text()):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        remote = RemotePolicy(f"ws://127.0.0.1:{file.read_text()}", timeout_s=LONG_S, speaks="vla-eval")
        assert (remote.spec.name, remote.spec.speaks) == ("Counting", "vla-eval")
        assert remote.spec.convention_for("bridge_orig").gripper == "absolute_1_open"
        query = Query(IMAGE, "go", "bridge_orig", 0)
        steps = [remote.act(Query(IMAGE, "go", "bridge_orig", 0, first=first)) for first in (1, 0, 0, 1)]
        assert np.allclose([step[0, 0] for step in steps], [0, 0.001, 0.002, 0])
        assert np.allclose(steps[0][0, 1], IMAGE.mean() / 1e4)
        with pytest.raises(StairError, match="the counting server broke"):
            remote.act(Query(IMAGE, "break", "bridge_orig", 0))
        assert remote.act(query).shape == (1, 7)
        remote.close()
    finally:
        process.terminate()
        process.communicate()
