"""The development cluster does what a real one does: the drills that everything else here rests on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.slurm.live import LiveSlurm
from tools.devslurm import life, look, network, record, system
from tools.devslurm.shape import Cluster, Shape
from tools.devslurm.system import Process, end, wait_until

COUNT = "echo start $SLURM_RESTART_COUNT; for n in $(seq 300); do sleep 0.2; done"


def test_two_nodes_have_names_addresses_and_gpus_of_their_own(slurm: LiveSlurm):
    ask = "echo $(hostname) $(hostname -i) $CUDA_VISIBLE_DEVICES $(ls /sys/class/net | xargs)"
    said = slurm.run("srun", "--quiet", "--nodes=2", "--gres=gpu:3", "sh", "-c", ask)
    first, second = (node.address for node in slurm.cluster.nodes[:2])
    assert sorted(said.splitlines()) == [f"n1 {first} 0,1,2 eth0 lo", f"n2 {second} 0,1,2 eth0 lo"]


def test_a_node_has_no_name_server_and_reaches_the_others(slurm: LiveSlurm):
    assert "nameserver" not in slurm.on("n1", ["cat", "/etc/resolv.conf"])
    assert slurm.on("n1", ["getent", "hosts", "n4"]).split()[0] == slurm.cluster.nodes[3].address


def test_an_array_runs_a_few_members_at_once(slurm: LiveSlurm, tmp_path: Path):
    job = slurm.submit(
        "echo $SLURM_ARRAY_TASK_ID; sleep 0.5", "--array=0-5%3", "--output=%a.out", cwd=tmp_path
    )
    for member in range(6):  # the last one may overtake those beside it
        slurm.wait_for_state(f"{job}_{member}", "COMPLETED")
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == [f"{n}\n" for n in range(6)]


def test_a_requeued_job_is_held_and_starts_when_kicked(slurm: LiveSlurm, tmp_path: Path):
    job = slurm.submit(COUNT, "--output=log", "--open-mode=append", cwd=tmp_path)
    slurm.wait_for_state(job, "RUNNING")
    began = time.monotonic()
    slurm.run("scontrol", "requeue", job)
    slurm.kick(job)
    slurm.wait_for_state(job, "RUNNING")
    assert time.monotonic() - began < slurm.cluster.shape.hold_s  # so long Slurm itself waits
    assert "Restarts=1" in slurm.run("scontrol", "show", "job", job)


def test_jobs_of_low_qos_make_room_one_comes_back_and_one_does_not(slurm: LiveSlurm):
    requeued = slurm.submit(COUNT, "--qos=low", "--nodelist=n[1-2]", "--exclusive")
    cancelled = slurm.submit(COUNT, "--qos=low-cancel", "--nodelist=n[3-4]", "--exclusive")
    slurm.wait_for_state(requeued, "RUNNING")
    slurm.wait_for_state(cancelled, "RUNNING")
    high = slurm.submit("true", "--qos=high", "--nodes=4", "--exclusive")
    slurm.wait_for_state(high, "COMPLETED", timeout_s=120)
    assert slurm.state(cancelled) == "PREEMPTED"
    slurm.kick(requeued)
    slurm.wait_for_state(requeued, "RUNNING")


def test_a_pulled_cable_is_a_node_failure_and_a_mended_node_comes_back(slurm: LiveSlurm):
    job = slurm.submit("srun " + "sleep 100", "--nodes=2", "--nodelist=n2,n3")
    slurm.wait_for_state(job, "RUNNING")
    slurm.cut("n2")
    slurm.wait_for_state("n2", "down*", timeout_s=90)
    history = ("sacct", "-D", "-X", "-j", job, "-o", "state")
    assert wait_until(lambda: "NODE_FAIL" in slurm.run(*history), 60.0, 0.2), slurm.run(*history)
    slurm.run("scancel", job)  # after two minutes it would begin again, on the mended node
    slurm.mend("n2")
    slurm.wait_for_state("n2", "idle")


def test_jobs_outlive_a_restart_of_the_controller(slurm: LiveSlurm, tmp_path: Path):
    go = tmp_path / "go"
    job = slurm.submit(f"until [ -e {go} ]; do sleep 0.2; done")
    slurm.wait_for_state(job, "RUNNING")
    slurm.stop("slurmctld")
    assert look.status(slurm.cluster).daemons["slurmctld"] is None
    slurm.restart("slurmctld")
    assert slurm.state(job) == "RUNNING"
    go.touch()  # one that ended while slurmctld starts would leave its node `mixed` for a quarter of an hour
    slurm.wait_for_state(job, "COMPLETED")


def test_requests_that_break_a_limit_are_refused_or_wait_for_ever(slurm: LiveSlurm):
    def send(*options: str) -> str:
        return slurm.run("sbatch", *options, "--wrap", "true", check=False)

    assert "time limit is invalid" in send("--partition=eval", "--time=2:00:00")
    assert "inactive or drain" in send("--partition=retired")
    assert "Invalid account" in send("--account=other")
    assert "QOSMaxGRESPerUser" in send("--qos=short", "--gres=gpu:8")
    assert "Submitted" in send("--partition=closed")
    assert "Submitted" in send("--qos=capped", "--nodes=2")

    def reasons() -> set[str]:
        return {job.reason for job in look.status(slurm.cluster).jobs}

    assert wait_until(lambda: reasons() == {"(PartitionDown)", "(QOSGrpNodeLimit)"}, 60.0, 0.2), reasons()


def test_without_accounting_partitions_decide_who_makes_room(slurm_without_accounting: LiveSlurm):
    slurm = slurm_without_accounting
    low = slurm.submit(COUNT, "--partition=low-requeue", "--nodes=4", "--exclusive")
    slurm.wait_for_state(low, "RUNNING")
    high = slurm.submit("true", "--partition=train", "--nodes=4", "--exclusive")
    slurm.wait_for_state(high, "COMPLETED", timeout_s=120)
    slurm.kick(low)
    slurm.wait_for_state(low, "RUNNING")
    assert "disabled" in slurm.run("sacct", check=False)


def test_status_is_json_for_programs(slurm: LiveSlurm):
    told = json.loads(look.as_json(look.status(slurm.cluster)))
    assert told["well"]
    assert [node["name"] for node in told["nodes"]] == ["n1", "n2", "n3", "n4"]


def test_apptainer_runs(apptainer: Path, slurm: LiveSlurm):
    assert slurm.run("srun", "--quiet", "--nodes=2", "apptainer", "version").split()[0][0].isdigit()


# ── what others do beside us; no cluster is needed for that ──


@pytest.fixture
def slots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of claims of its own."""
    folder = tmp_path / "slots"
    folder.mkdir()
    monkeypatch.setattr(network, "CLAIMS", folder)
    monkeypatch.setattr(network, "_elsewhere", lambda cluster: False)
    return folder


def test_a_slot_that_is_given_back_while_slots_are_listed_is_nobodys(
    slots: Path, monkeypatch: pytest.MonkeyPatch
):
    for slot, root in (("5", "/a"), ("7", "/b")):
        (slots / slot).symlink_to(root)
    (slots / "lock").touch()
    read = os.readlink

    def too_late(path: Path) -> str:
        (slots / "5").unlink(missing_ok=True)
        return read(path)

    monkeypatch.setattr(network.os, "readlink", too_late)
    assert network.claims() == [(7, Path("/b"))]


def test_a_cluster_that_is_down_leaves_the_one_alone_that_has_its_slot_by_now(
    slots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    mine, other = (Cluster(tmp_path / name, 5) for name in ("mine", "other"))
    for cluster in (mine, other):
        cluster.root.mkdir()
        record.write_cluster(cluster)
    (slots / "5").symlink_to(other.root)
    cleared: list[Cluster] = []
    monkeypatch.setattr(life, "_clear", lambda cluster: cleared.append(cluster) or 0)
    assert life.down(mine.root) == 0
    assert cleared == []
    again = life._settle(mine.root, Shape(nodes=2))
    assert again.slot != 5
    assert cleared == [again]
    assert sorted(network.claims()) == sorted([(5, other.root), (again.slot, mine.root)])


def test_a_lost_cluster_that_somebody_else_has_cleared_away_meanwhile_is_left_alone(
    slots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen = iter([[(5, tmp_path / "gone")], []])
    monkeypatch.setattr(network, "claims", lambda: next(seen))
    monkeypatch.setattr(life, "_clear", lambda cluster: pytest.fail("it may be another's slot by now"))
    life.sweep()


def test_whoever_is_started_while_a_cluster_is_ended_is_ended_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rounds = iter([[1], [2, 3], []])
    ended: list[int] = []
    members = lambda cluster: [Process(pid, "sleep", ("sleep",), "") for pid in next(rounds)]  # noqa: E731
    monkeypatch.setattr(network, "members", members)
    monkeypatch.setattr(network, "remove", lambda cluster: None)
    monkeypatch.setattr(life, "end", lambda pids, patience_s: ended.extend(pids))
    assert life._clear(Cluster(tmp_path, 5)) == 3
    assert ended == [1, 2, 3]


def test_a_process_that_got_the_id_of_one_that_has_ended_is_not_killed(monkeypatch: pytest.MonkeyPatch):
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        births = iter(["its own", "another's", "another's"])
        found = lambda pid: Process(pid, "python", (), "", next(births))  # noqa: E731
        monkeypatch.setattr(system, "_read_process", found)
        assert end([child.pid], patience_s=0.0) == []
        assert child.poll() is None
        monkeypatch.undo()
        assert end([child.pid], patience_s=0.0) == [child.pid]
    finally:
        child.kill()
        child.wait()
