"""The development cluster does what a real one does: the drills that everything else here rests on."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.slurm.live import LiveSlurm
from tools.devslurm import look

COUNT = "echo start $SLURM_RESTART_COUNT; for n in $(seq 300); do sleep 0.2; done"


def test_two_nodes_have_names_addresses_and_gpus_of_their_own(slurm: LiveSlurm):
    ask = "echo $(hostname) $(hostname -i) $CUDA_VISIBLE_DEVICES $(ls /sys/class/net | xargs)"
    said = slurm.run("srun", "--nodes=2", "--gres=gpu:3", "sh", "-c", ask)
    first, second = (node.address for node in slurm.cluster.nodes[:2])
    assert sorted(said.splitlines()) == [f"n1 {first} 0,1,2 eth0 lo", f"n2 {second} 0,1,2 eth0 lo"]


def test_a_node_has_no_name_server_and_reaches_the_others(slurm: LiveSlurm):
    assert "nameserver" not in slurm.on("n1", ["cat", "/etc/resolv.conf"])
    assert slurm.on("n1", ["getent", "hosts", "n4"]).split()[0] == slurm.cluster.nodes[3].address


def test_an_array_runs_a_few_members_at_once(slurm: LiveSlurm, tmp_path: Path):
    job = slurm.submit(
        "echo $SLURM_ARRAY_TASK_ID; sleep 0.5", "--array=0-5%3", "--output=%a.out", cwd=tmp_path
    )
    slurm.wait_for_state(f"{job}_5", "COMPLETED")
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == [f"{n}\n" for n in range(6)]


def test_a_requeued_job_is_held_and_starts_when_kicked(slurm: LiveSlurm, tmp_path: Path):
    job = slurm.submit(COUNT, "--output=log", "--open-mode=append", cwd=tmp_path)
    slurm.wait_for_state(job, "RUNNING")
    slurm.run("scontrol", "requeue", job)
    began = time.monotonic()
    slurm.kick(job)
    slurm.wait_for_state(job, "RUNNING")
    assert time.monotonic() - began < 60  # Slurm itself waits two minutes
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
    assert "NODE_FAIL" in slurm.run("sacct", "-D", "-X", "-j", job, "-o", "state")
    slurm.mend("n2")
    assert slurm.state("n2") == "idle"


def test_jobs_outlive_a_restart_of_the_controller(slurm: LiveSlurm):
    job = slurm.submit("sleep 3")
    slurm.wait_for_state(job, "RUNNING")
    slurm.stop("slurmctld")
    assert look.status(slurm.cluster).daemons["slurmctld"] is None
    slurm.restart("slurmctld")
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
    reasons = {job.reason for job in look.status(slurm.cluster).jobs}
    assert reasons == {"(PartitionDown)", "(QOSGrpNodeLimit)"}


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
    assert slurm.run("srun", "--nodes=2", "apptainer", "version").split()[0][0].isdigit()
