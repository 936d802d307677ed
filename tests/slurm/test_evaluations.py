"""Evaluations as arrays on a real Slurm: members with servers of their own, or with one that all share."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stair.cluster.ledger import read_sent
from stair.evaluate.episodes import read_records
from stair.rundir import RunDir
from tests.slurm.live import LiveSlurm
from tests.slurm.person import Person, make_model, make_person

pytestmark = pytest.mark.slow

FEW = ("--eval.episodes", "5", "--eval.max_steps", "6", "--eval.workers", "1", "--eval.videos", "1")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "small", "tabletop")


@pytest.fixture
def person(slurm: LiveSlurm, tmp_path: Path) -> Person:
    return make_person(slurm, tmp_path / "work")


@pytest.fixture
def shared_server(slurm: LiveSlurm, model: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a server on this machine, on the network that only the cluster's nodes are on."""
    file = tmp_path / "address"
    where = ("--host", slurm.cluster.host, "--port", "0", "--address_file", str(file), "--threads", "1")
    words = [sys.executable, "-m", "stair.serve", "--model", str(model), *where]
    process = subprocess.Popen(words, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        deadline = time.monotonic() + 120
        while not file.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield file.read_text().strip()
    finally:
        process.terminate()
        process.wait(timeout=120)


def test_members_with_servers_of_their_own_fill_one_report_and_only_what_is_missing_is_played_again(
    person: Person, model: Path
):
    said = person.submits("eval-tabletop", "--policy", str(model), *FEW, "--resources.members", "2")
    assert "5 episodes of 1 task in tabletop, 2 members of 3 episodes at most" in said
    report = person.waits_for("runs/eval-tabletop")
    (task,) = report["evaluations"][0]["tasks"]
    assert (task["episodes"], task["errors"]) == (5, 0)
    run = RunDir(person.folder / "runs" / "eval-tabletop")
    assert sorted(path.name for path in (run.logs / "eval").glob("*-server.log")) == [
        "00000-server.log",
        "00001-server.log",
    ]
    before = {record.key: record for record in read_records(run.episodes)}
    assert len(before) == 5
    assert len(list(run.videos.rglob("*.mp4"))) == 1

    (second,) = run.episodes.glob("*-00001.jsonl")
    *kept, lost = second.read_text().splitlines(keepends=True)
    second.write_text("".join(kept))
    (run.path / "members" / "00001.json").unlink()
    person.submits("eval-tabletop", "--policy", str(model), *FEW, "--resources.members", "2")
    person.waits_for("runs/eval-tabletop")
    after = {record.key: record for record in read_records(run.episodes)}
    assert after.keys() == before.keys()
    same = [key for key in before if after[key] == before[key] and key not in lost]
    assert len(same) == 4
    assert [line.members for line in read_sent(run)] == [(0, 1), (1,)]


def test_members_share_a_server_that_is_there_already_and_start_none(person: Person, shared_server: str):
    words = ("eval-tabletop", "--policy", shared_server, *FEW, "--resources.members", "3")
    person.submits(*words)
    report = person.waits_for("runs/eval-tabletop")
    (task,) = report["evaluations"][0]["tasks"]
    assert (task["episodes"], task["errors"]) == (5, 0)
    run = RunDir(person.folder / "runs" / "eval-tabletop")
    assert len(list((run.logs / "eval").glob("0000?.log"))) == 3
    assert not list((run.logs / "eval").glob("*-server.log"))
    assert len(read_records(run.episodes)) == 5
    assert "nothing to send" in person.submits(*words)
