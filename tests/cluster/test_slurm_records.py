"""What clusters of several versions print becomes facts."""

from __future__ import annotations

from pathlib import Path

import pytest

from stair.cluster.limits import Limits
from stair.cluster.slurm_facts import SlurmFacts
from stair.cluster.slurm_records import make_facts

RECORDED = Path(__file__).parent / "recorded"


def facts_of(version: str, user: str = "root") -> SlurmFacts:
    """The facts of a recorded cluster; its folder says in which version it was recorded."""
    folder = RECORDED / version
    accounting = folder / "accounting.txt"
    return make_facts(
        (folder / "config.txt").read_text(),
        (folder / "partition.txt").read_text(),
        (folder / "node.txt").read_text(),
        accounting.read_text() if accounting.exists() else None,
        user=user,
    )


@pytest.mark.parametrize("folder", sorted(path.name for path in RECORDED.iterdir()))
def test_every_recorded_version_is_read_without_anything_left_over(folder: str):
    facts = facts_of(folder)
    assert facts.unread == ()
    assert facts.version.startswith(folder)
    assert facts.partitions
    assert facts.nodes
    assert {"associations", "limits", "qos"} <= facts.enforce
    assert facts.accounting
    for partition in facts.partitions.values():
        assert partition.nodes
        assert partition.state in ("UP", "DOWN", "DRAIN", "INACTIVE")
    for node in facts.nodes.values():
        assert node.cpus > 1
        assert node.memory > 1000


@pytest.mark.parametrize("version", ["22.05.8", "24.11.5"])
def test_real_clusters(version: str):
    facts = facts_of(version)
    assert (facts.max_array_size, facts.preempt_type, facts.job_requeue) == (1001, "preempt/qos", True)
    assert facts.sends_user_signal
    assert facts.administrator
    assert facts.default_partition == "train"
    lean = facts.partitions["lean"]
    assert (lean.nodes, lean.state, lean.max_nodes, lean.max_mem_per_node) == (("n1", "n3"), "DOWN", 1, 2000)
    assert (lean.qos, lean.accounts, lean.groups) == ("short", ("lab", "team"), ("root", "games"))
    assert not facts.nodes["n2"].up
    assert facts.nodes["n2"].reason.startswith("State=UP is not true, a|b [root@")
    assert facts.nodes["n1"].up
    assert facts.nodes["n1"].count("gpu") == facts.nodes["n1"].count("gpu", "h100") == 8
    assert facts.nodes["n1"].count("gpu", "a100") == facts.nodes["n1"].count("shard") == 0


def test_accounts_and_qos_of_a_real_cluster():
    facts = facts_of("22.05.8")
    assert facts.default_account == "lab"
    assert facts.qos is not None
    assert facts.associations is not None
    short = facts.qos["short"]
    assert short.flags == {"denyonlimit"}
    assert short.limits == Limits(wall_s=1800, job={"node": 2}, user={"cpu": 8, "gres/gpu": 4}, submitted=20)
    own = {a.account: a for a in facts.associations if a.user}
    above = {a.account: a for a in facts.associations if not a.user}
    assert set(own) == {"lab", "small", "spent", "squad", "root"}
    assert (own["lab"].default_qos, own["small"].limits.job) == ("normal", {"node": 1})
    assert own["squad"].limits.wall_s == 2 * 86400
    assert above["squad"].parent == "team"
    assert above["team"].limits.group == {"gres/gpu": 16, "mem": 1500 * 1024}
    assert above["team"].limits.group_minutes == {"cpu": 100000}
    assert above["spent"].limits.group_submitted == 0


def test_cloud_nodes_that_sleep_are_up_and_reserved_cores_and_memory_are_not_counted():
    facts = facts_of("23.02")
    assert facts.partitions["gpu"].nodes[:3] == ("cloud001", "cloud002", "gpu-a1b3")
    assert facts.nodes["cloud001"].up
    node = facts.nodes["gpu-a1b3"]
    assert not node.up  # it does not respond
    assert (node.cpus, node.memory) == (124, 1_000_000)
    assert (facts.max_array_size, facts.max_job_count, facts.job_requeue) == (4001, 50000, False)
    assert facts.sends_user_signal
    assert not facts.administrator or facts.user == "root"


def test_denied_lists_memory_per_cpu_and_drained_partitions():
    facts = facts_of("23.11", user="slurm")
    main = facts.partitions["main"]
    assert (main.denied_accounts, main.denied_qos, main.accounts) == (
        ("guests", "trial"),
        ("scavenge",),
        None,
    )
    assert (main.max_mem_per_cpu, main.max_mem_per_node, main.max_cpus_per_node) == (8000, None, 96)
    assert (main.state, main.max_time_s, main.no_root, main.needs_reservation) == ("DRAIN", None, True, True)
    assert facts.nodes["node1"].reason.startswith("Low RealMemory (reported:500000 < 100.00%")
    assert not facts.nodes["node1"].up
    assert not facts.sends_user_signal
    assert facts.administrator


def test_several_types_of_gpus_and_shards():
    node = facts_of("24.05").nodes["a08"]
    assert (node.count("gpu"), node.count("gpu", "a100_1g.5gb"), node.count("shard")) == (10, 7, 12)
    assert facts_of("24.05").partitions["a100"].nodes == ("a08", "a09", "a10", "a11")
    assert facts_of("24.05").partitions["a100"].max_time_s == 3 * 86400 + 12 * 3600 + 1800


def test_future_nodes_and_fields_of_newer_versions():
    facts = facts_of("25.05")
    assert facts.partitions["h200"].nodes == ("h0001", "h0002", "spare")
    assert facts.nodes["spare"].state == "FUTURE"
    assert facts.nodes["spare"].reason == "waits for a cable, State=later [root@2025-06-01T08:00:00]"
    assert facts.nodes["h0001"].up


def test_what_cannot_be_read_limits_nothing_and_is_named():
    facts = make_facts(
        "ClusterName = c\nMaxArraySize = many\n",
        "PartitionName=p Nodes=n[1- MaxTime=soon MaxNodes=2\n",
        "NodeName=n1 CPUTot=8 RealMemory=lots\n",
        None,
        user="me",
    )
    assert facts.max_array_size == 1001
    assert facts.partitions["p"].max_time_s is None
    assert facts.partitions["p"].max_nodes == 2
    assert set(facts.unread) == {
        "MaxArraySize 'many'",
        "Nodes of partition p 'n[1-'",
        "MaxTime of partition p 'soon'",
        "RealMemory of node n1 'lots'",
    }


def test_an_empty_answer_about_accounts_is_not_taken_for_a_fact():
    facts = make_facts("ClusterName = c\n", "", "", "sacctmgr: \nName|Flags\nUser|Def Acct\n", user="me")
    assert facts.associations is None
    assert facts.qos is None
