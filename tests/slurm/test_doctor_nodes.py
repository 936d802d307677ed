"""stair-doctor on the nodes of a real Slurm: one is broken on purpose, one is down, one hangs, and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stair.origin import CHECKOUT
from tests.containers.baked import BakedImage
from tests.containers.eval_image import eval_image  # noqa: F401
from tests.slurm.live import LiveSlurm
from tools.devslurm.daemons import daemons
from tools.devslurm.system import wait_until

DOCTOR = str(Path(sys.executable).with_name("stair-doctor"))


def call(slurm: LiveSlurm, folder: Path, *words: str, within: str = "") -> subprocess.CompletedProcess[str]:
    argv = [*within.split(), DOCTOR, "--run-folder", str(folder), *words]
    environment = {**slurm.environment, "COLUMNS": "120"}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=300)


def told(slurm: LiveSlurm, folder: Path, *words: str) -> dict[str, Any]:
    done = call(slurm, folder, "--json", *words)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@contextmanager
def broken(slurm: LiveSlurm, node: str, *mount: str) -> Iterator[None]:
    """Something is mounted where only one node sees it: in the mount namespace of its slurmd."""
    (daemon,) = (daemon for daemon in daemons(slurm.cluster) if daemon.name == node)
    inside = ["nsenter", f"--target={daemon.pid}", "--mount"]
    subprocess.run([*inside, "mount", *mount], check=True)
    try:
        yield
    finally:
        subprocess.run([*inside, "umount", "--lazy", mount[-1]], check=True)


def ids_by_place(found: dict[str, Any], *levels: str) -> dict[str, set[str]]:
    """The ids of all findings of these levels, by place."""
    places: dict[str, set[str]] = {}
    for diagnosis in found["diagnoses"]:
        for finding in (diagnosis["cause"], *diagnosis["consequences"]):
            if finding["level"] in levels:
                places.setdefault(finding["place"], set()).add(finding["id"])
    return places


def test_healthy_nodes_are_fine_and_leave_no_job(slurm: LiveSlurm, tmp_path: Path):
    done = call(slurm, tmp_path, "--all-nodes")
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("5 machines: 5 fine")
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith(("✓", "!"))][1:] == [
        *("n1", "n2", "n3", "n4")
    ]
    assert wait_until(lambda: not slurm.jobs(), 60.0), slurm.jobs()


def test_the_node_that_is_broken_is_pointed_to_with_what_differs(slurm: LiveSlurm, tmp_path: Path):
    with broken(slurm, "n3", "-t", "tmpfs", "-o", "size=16m", "tmpfs", "/dev/shm"):
        done = call(slurm, tmp_path, "--all-nodes", "--capture", str(tmp_path / "nodes.json"))
    assert done.returncode == 1, done.stdout
    lines = done.stdout.splitlines()
    assert lines[0].startswith("5 machines: 4 fine, 1 will fail")
    header = next(line for line in lines if line.startswith("  node"))
    assert "/dev/shm" in header
    (row,) = (line for line in lines if line.startswith("✗ n3"))
    assert "17 MB" in row
    assert row.split()[-1] == "shm.small"
    assert "✗ shm.small · n3" in lines
    found = told(slurm, tmp_path, "--replay", str(tmp_path / "nodes.json"))
    assert found["exit"] == 1
    assert ids_by_place(found, "error") == {"n3": {"shm.small"}}


def test_the_image_is_looked_into_on_every_node(
    slurm: LiveSlurm,
    tmp_path: Path,
    eval_image: BakedImage,  # noqa: F811
):
    words = ("--nodelist=n[1-2]", "--image", str(eval_image.path), "--render", "cpu")
    with broken(slurm, "n2", "-t", "tmpfs", "tmpfs", str(eval_image.path.parent)):
        found = told(slurm, tmp_path, *words)
    login, good, bad = found["visits"]
    assert (login["role"], good["role"], bad["role"]) == ("login", "compute", "compute")
    assert good["image"]["vulkan"]["devices"][0]["type"] == "cpu"
    assert ids_by_place(found, "error") == {"n2": {"image.missing"}}
    assert found["diagnoses"][0]["cause"]["place"] == "n2"


def test_nodes_that_see_no_file_of_ours_are_looked_at_all_the_same(slurm: LiveSlurm, tmp_path: Path):
    with broken(slurm, "n4", "-t", "tmpfs", "tmpfs", str(CHECKOUT)):
        found = told(slurm, tmp_path, "--nodelist=n4")
    (_, node) = found["visits"]
    assert node["missing"] == {}
    assert node["host"]["host"] == "n4"
    assert not node["host"]["python"]["executable"].startswith(str(CHECKOUT))


def test_a_node_that_is_down_is_listed_with_the_reason(slurm: LiveSlurm, tmp_path: Path):
    slurm.run("scontrol", "update", "NodeName=n2", "State=DRAIN", "Reason=its disk died")
    done = call(slurm, tmp_path, "--all-nodes")
    assert done.returncode == 3, done.stdout
    assert "5 machines: 4 fine, 1 could not be checked" in done.stdout
    assert "? n2" in done.stdout
    assert "its disk died" in done.stdout


def test_a_node_whose_cable_was_pulled_does_not_take_the_others_with_it(slurm: LiveSlurm, tmp_path: Path):
    slurm.cut("n1")
    found = told(slurm, tmp_path, "--all-nodes")
    by_name = {visit["name"]: visit for visit in found["visits"]}
    assert "n1" in found["diagnoses"][0]["cause"]["place"]
    assert by_name["n1"]["missing"]["node"]
    assert all(by_name[name]["host"]["host"] == name for name in ("n2", "n3", "n4"))
    assert found["exit"] == 3


def test_a_full_cluster_is_said_to_be_busy_and_not_fine(slurm: LiveSlurm, tmp_path: Path):
    job = slurm.submit("sleep 100", "--nodes=2", "--nodelist=n[1-2]", "--exclusive")
    slurm.wait_for_state(job, "RUNNING")
    found = told(slurm, tmp_path, "--all-nodes", "--wait", "15")
    by_name = {visit["name"]: visit for visit in found["visits"]}
    assert all("busy" in by_name[name]["missing"]["node"] for name in ("n1", "n2"))
    assert all(by_name[name]["host"] for name in ("n3", "n4"))
    assert found["exit"] == 3


def test_what_slurm_refuses_is_said_in_two_lines(slurm: LiveSlurm, tmp_path: Path):
    done = call(slurm, tmp_path, "--nodes=1", "--account=nobody")
    assert done.returncode == 3
    assert "Invalid account" in done.stderr
    assert "Traceback" not in done.stderr


def test_in_an_allocation_its_nodes_are_looked_at(slurm: LiveSlurm, tmp_path: Path):
    within = "salloc --nodes=2 --nodelist=n[2-3] --gres=gpu:1"
    done = call(slurm, tmp_path, "--all-nodes", "--json", within=within)
    found = json.loads(done.stdout)
    assert [visit["name"] for visit in found["visits"]][1:] == ["n2", "n3"]
    assert all(visit["host"]["slurm"]["job"]["id"] for visit in found["visits"][1:])


@pytest.mark.usefixtures("heard_interrupts")
@pytest.mark.parametrize("hangs", [True, False], ids=["while a node hangs", "while it waits in the queue"])
def test_ctrl_c_leaves_no_job(slurm: LiveSlurm, tmp_path: Path, hangs: bool):
    words = [DOCTOR, "--run-folder", str(tmp_path), "--nodelist=n[1-2]"]
    if hangs:
        sleeper = tmp_path / "sleeper"
        sleeper.write_text("#!/bin/sh\nexec sleep 300\n")
        sleeper.chmod(0o755)
        mount = ("--bind", str(sleeper), os.path.realpath(sys.executable))
        with broken(slurm, "n2", *mount):
            code = interrupted(slurm, words, lambda: "nodes 1/2" in (tmp_path / "said").read_text(), tmp_path)
    else:
        job = slurm.submit("sleep 100", "--nodes=2", "--nodelist=n[1-2]", "--exclusive")
        slurm.wait_for_state(job, "RUNNING")
        code = interrupted(slurm, words, lambda: "stair-doctor" in slurm.jobs(), tmp_path)
        slurm.run("scancel", job)
    assert code == 130
    assert wait_until(lambda: "stair-doctor" not in slurm.jobs(), 60.0), slurm.jobs()
    assert "interrupted" in (tmp_path / "said").read_text()


def interrupted(slurm: LiveSlurm, words: list[str], ready: Any, folder: Path) -> int:
    """Starts the doctor, sends Ctrl-C once it is ready; its exit code."""
    with (folder / "said").open("w") as said:
        child = subprocess.Popen(words, env=dict(slurm.environment), stdout=said, stderr=said)
    try:
        assert wait_until(ready, 120.0, 0.2), (folder / "said").read_text()
        time.sleep(1.0)
        child.send_signal(signal.SIGINT)
        return child.wait(60)
    finally:
        child.kill()
