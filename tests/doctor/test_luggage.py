"""What is sent to a node works in any Python there, from memory, and finds its way back through srun."""

from __future__ import annotations

import base64
import random
import subprocess
import sys
from pathlib import Path

import pytest

from stair.doctor.luggage import luggage, modules_below, read_visits
from stair.doctor.traveller import CHUNK, MARK, pack, unpack
from stair.doctor.visit import Order, Visit, to_json

OTHERS = sorted(
    path
    for version in ("3.6.*", "3.8.*", "3.12.*")
    for path in Path("~/.pyenv/versions").expanduser().glob(f"{version}/bin/python")
)
"""Such as this machine has: older than our modules, and newer than what we develop on."""


def lines_of(visit: Visit) -> list[str]:
    text = pack(to_json(visit))
    chunks = [text[at : at + CHUNK] for at in range(0, len(text), CHUNK)]
    return [f"{MARK} {visit.name} {n} {len(chunks)} {chunk}" for n, chunk in enumerate(chunks, 1)]


def big(name: str) -> Visit:
    noise = base64.b64encode(random.Random(name).randbytes(4000)).decode()
    return Visit(name, "compute", {"probe": 2, "noise": noise})


@pytest.mark.parametrize("python", [Path(sys.executable), *OTHERS], ids=lambda path: path.parent.parent.name)
def test_any_python_on_a_node_runs_it_without_a_file_of_ours(python: Path, tmp_path: Path):
    words = [str(python), "-I", "-"]
    text = luggage(Order(folder=str(tmp_path)))
    done = subprocess.run(
        words,
        input=text,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"SLURMD_NODENAME": "n7", "PATH": "/usr/bin:/bin"},
        timeout=120,
    )
    (visit,) = read_visits(done.stdout.splitlines()).values()
    assert (visit.name, visit.role, visit.missing) == ("n7", "compute", {}), done.stderr
    assert visit.host
    assert visit.host["probe"] == 2
    assert not list(tmp_path.iterdir())
    assert max(map(len, done.stdout.splitlines())) < 1000  # srun cuts lines of 1,024 letters


def test_it_brings_what_a_visit_imports_and_nothing_else():
    names = set(modules_below("stair.doctor.visit"))
    assert {"stair", "stair.errors", "stair.cluster.container", "stair.cluster.sif"} <= names
    assert not {
        name for name in names if name.startswith(("stair.submit", "stair.console", "stair.settings"))
    }
    assert len(luggage(Order())) < 100_000


def test_lines_of_many_nodes_may_come_in_any_order_among_others():
    visits = [big(f"n{number}") for number in range(1, 20)]
    lines = [line for visit in visits for line in lines_of(visit)] + ["Welcome to the cluster!", MARK]
    random.Random(1).shuffle(lines)
    assert read_visits(lines) == {visit.name: visit for visit in visits}


def test_a_node_that_was_cut_short_or_says_nonsense_is_left_out():
    whole, half = lines_of(big("n1")), lines_of(big("n2"))[:-1]
    nonsense = [f"{MARK} n3 1 1 not-base64", f"{MARK} n4 1 1 {pack([1, 2])}"]
    assert list(read_visits([*whole, *half, *nonsense])) == ["n1"]


def test_what_is_packed_comes_back():
    assert unpack(pack({"a": ["ä", 1.5, None]})) == {"a": ["ä", 1.5, None]}
    with pytest.raises(ValueError, match=r"."):
        unpack(base64.b64encode(b"x").decode())
