"""Requests that the development cluster can and cannot run, as a person would make them by mistake.

Its nodes: n1 n2 with 8 CPUs, 8000 MB, 8 × h100; n3 n4 with 8 CPUs, 16000 MB, 4 × a100; all have the feature
ib. Its partitions, QOS and accounts: tools/devslurm/texts.py and accounts.py.
"""

from __future__ import annotations

from stair.submit.options import Request

MINUTES = 1 / 60


def ask(**asked) -> Request:
    """A request of the step `work` for a minute, and what is asked besides."""
    return Request(**{"step": "work", "hours": MINUTES, **asked})


IMPOSSIBLE: dict[str, tuple[str, Request]] = {
    "a misspelt partition": ("partition-unknown", ask(partition="trian")),
    "one good and one misspelt partition": ("partition-unknown", ask(partition="train,evla")),
    "a partition that is down": ("partition-state", ask(partition="closed")),
    "a partition that is drained": ("partition-state", ask(partition="draining")),
    "a partition that is inactive": ("partition-state", ask(partition="retired")),
    "a partition for another QOS": ("partition-qos", ask(partition="high-only")),
    "a partition for another account": ("partition-account", ask(partition="partners")),
    "eight days where a week is given": ("time-partition", ask(hours=8 * 24)),
    "a minute more than the partition gives": ("time-partition", ask(partition="eval", hours=61 * MINUTES)),
    "no time at all": ("time-zero", ask(hours=0)),
    "more time than the QOS gives": ("time-limit", ask(qos="short", hours=45 * MINUTES)),
    "more time than the account gives": ("time-limit", ask(account="small", hours=20 * MINUTES)),
    "more nodes than there are": ("nodes", ask(nodes=5)),
    "more nodes than the partition has": ("nodes", ask(partition="h100", nodes=3)),
    "more nodes than are left": ("nodes", ask(nodes=3, exclude=("n[1-2]",))),
    "more nodes than the partition gives a job": ("nodes-most", ask(partition="solo", nodes=2)),
    "fewer nodes than the partition gives a job": ("nodes-least", ask(partition="wide")),
    "a node to be left out that is none": ("exclude", ask(exclude=("n9",))),
    "an unknown kind of device": ("gres-unknown", ask(gres="tpu", gpus=1)),
    "an unknown type of GPU": ("gres-type", ask(gres="gpu:v100", gpus=1)),
    "a type of GPU in capitals": ("gres-type", ask(gres="gpu:A100", gpus=1)),
    "nine GPUs of eight": ("gres", ask(gpus=9)),
    "five GPUs of a type of which nodes have four": ("gres", ask(gres="gpu:a100", gpus=5)),
    "eight GPUs on more nodes than have them": ("gres", ask(gpus=8, nodes=3)),
    "GPUs of one type on nodes of the other": ("gres", ask(gres="gpu:a100", gpus=1, constraint="h100")),
    "nine cores of eight": ("cores", ask(cores=9)),
    "more memory than any node has": ("memory", ask(mem_gb=16)),
    "more memory than enough nodes have": ("memory", ask(mem_gb=8, nodes=3)),
    "many GPUs and much memory at once": ("nodes-together", ask(gpus=8, mem_gb=10)),
    "an unknown feature": ("constraint-unknown", ask(constraint="v100")),
    "a constraint with a missing bracket": ("constraint", ask(constraint="[h100|a100")),
    "two features that no node has together": ("constraint-nodes", ask(constraint="h100&a100")),
    "a feature on more nodes than have it": ("constraint-nodes", ask(constraint="h100", nodes=3)),
    "three nodes all alike": ("constraint-nodes", ask(constraint="[h100|a100]", nodes=3)),
    "three of a kind among four": ("constraint-nodes", ask(constraint="h100*3", nodes=4)),
    "an unknown account": ("account", ask(account="labb")),
    "somebody else's account": ("account", ask(account="other")),
    "an unknown QOS": ("qos-unknown", ask(qos="hihg")),
    "a QOS that the account has not": ("qos-permission", ask(account="small", qos="high")),
    "more nodes than the account gives a job": ("limit-job", ask(account="small", nodes=2)),
    "more nodes than the QOS gives a job": ("limit-job", ask(qos="short", nodes=3)),
    "more cores than the QOS gives a job": ("limit-job", ask(qos="capped", cores=5)),
    "more GPUs than the QOS gives a user": ("limit-user", ask(qos="short", gpus=8)),
    "more nodes than the QOS gives everybody": ("limit-group", ask(qos="capped", nodes=2)),
    "an account that takes no jobs": ("limit-submit", ask(account="spent")),
    "more members than the QOS lets wait": ("limit-submit", ask(qos="short", members=21)),
}
"""Why it cannot be, the refusal's id, and the request."""

POSSIBLE: dict[str, Request] = {
    "nothing special": ask(),
    "a week": ask(hours=7 * 24),
    "as long as the partition gives": ask(partition="eval", hours=1),
    "as long as the QOS gives": ask(qos="short", hours=0.5),
    "as long as the account gives": ask(account="small", hours=10 * MINUTES),
    "every node": ask(nodes=4),
    "every node of a partition": ask(partition="h100", nodes=2, hours=24),
    "as many nodes as the partition gives a job": ask(partition="solo", hours=0.5),
    "as few nodes as the partition gives a job": ask(partition="wide", nodes=2),
    "all nodes but one": ask(nodes=3, exclude=("n4",)),
    "all nodes but a list": ask(nodes=2, exclude=("n[1-2]",)),
    "any of two partitions": ask(partition="eval,train"),
    "low priority, requeued": ask(partition="low-requeue"),
    "low priority, cancelled": ask(partition="low-cancel", qos="low-cancel"),
    "eight GPUs": ask(gpus=8),
    "eight GPUs of a type on both nodes": ask(gres="gpu:h100", gpus=8, nodes=2),
    "four GPUs of any type on all nodes": ask(gpus=4, nodes=4),
    "all cores": ask(cores=8, nodes=4),
    "all memory of a large node": ask(mem_gb=15.6),
    "all memory that every node has": ask(mem_gb=7.8, nodes=4),
    "GPUs, cores and memory that fit together": ask(gpus=4, cores=8, mem_gb=12, nodes=2),
    "a feature that all nodes have": ask(constraint="ib", nodes=4),
    "two features together": ask(constraint="h100&ib", nodes=2),
    "two features with a comma": ask(constraint="a100,ib", nodes=2),
    "one feature or the other": ask(constraint="h100|a100", nodes=4),
    "parentheses": ask(constraint="(h100|a100)&ib", nodes=4),
    "two nodes all alike": ask(constraint="[h100|a100]", nodes=2),
    "two of a kind among four": ask(constraint="a100*2", nodes=4),
    "so many of each kind": ask(constraint="[h100*1&a100*2]", nodes=3),
    "an account by name": ask(account="lab"),
    "an account in capitals": ask(account="LAB"),
    "a QOS in capitals": ask(qos="HIGH"),
    "a partition with its QOS": ask(partition="high-only", qos="high"),
    "as many nodes and GPUs as the QOS gives": ask(qos="short", nodes=2, gpus=2, cores=4),
    "as many cores as the QOS gives": ask(qos="capped", cores=4),
    "an array": ask(members=30, parallel=4),
    "the longest array": ask(members=1001, parallel=1),
    "as many members as the QOS lets wait": ask(qos="short", members=20, parallel=1),
}

OVER_PARTITION = ("PartitionTimeLimit", "PartitionMaxNodes", "PartitionMinNodes")
RULES: tuple[tuple[str, ...], ...] = (
    ("sacctmgr", "-i", "add", "qos", "atleast", "set", "mintresperjob=gres/gpu=2"),
    ("sacctmgr", "-i", "add", "qos", "pernode", "set", "maxtrespernode=gres/gpu=2"),
    ("sacctmgr", "-i", "add", "qos", "minutes", "set", "maxtresminsperjob=cpu=60"),
    ("sacctmgr", "-i", "add", "qos", "nothing", "set", "maxjobsperuser=0"),
    ("sacctmgr", "-i", "add", "qos", "booked", "set", "flags=RequiresReservation"),
    ("sacctmgr", "-i", "add", "qos", "longer", "set", f"flags={','.join(OVER_PARTITION)}"),
    ("sacctmgr", "-i", "add", "qos", "stronger", "set", "flags=OverPartQOS", "maxwall=00:40:00"),
    ("sacctmgr", "-i", "add", "qos", "tenminutes", "set", "maxwall=00:10:00"),
    ("sacctmgr", "-i", "add", "qos", "double", "set", "limitfactor=2"),
    ("sacctmgr", "-i", "add", "account", "team", "set", "grptres=gres/gpu=4"),
    ("sacctmgr", "-i", "add", "account", "squad", "parent=team"),
    ("sacctmgr", "-i", "add", "user", "root", "account=squad"),
    ("sacctmgr", "-i", "add", "account", "dated"),
    ("sacctmgr", "-i", "add", "user", "root", "account=dated", "partition=eval"),
    *(
        ("sacctmgr", "-i", "modify", "account", account, "set", f"qos+={qos}")
        for account, qos in (
            ("lab", "atleast,pernode,minutes,nothing,booked,longer,stronger,tenminutes,double"),
            ("squad", "normal,double"),
        )
    ),
    ("scontrol", "create", "PartitionName=narrow", "Nodes=n[1-4]", "MaxCPUsPerNode=2", "State=UP"),
    ("scontrol", "create", "PartitionName=hurried", "Nodes=n[1-4]", "QoS=tenminutes", "State=UP"),
    ("scontrol", "create", "PartitionName=lean", "Nodes=n[1-4]", "MaxMemPerNode=2000", "State=UP"),
    ("scontrol", "create", "PartitionName=paid", "Nodes=n[1-4]", "MaxMemPerCPU=1000", "State=UP"),
    ("scontrol", "create", "PartitionName=reserved", "Nodes=n[1-4]", "ReqResv=YES", "State=UP"),
    ("scontrol", "create", "PartitionName=people", "Nodes=n[1-4]", "DisableRootJobs=YES", "State=UP"),
    ("scontrol", "create", "PartitionName=gamers", "Nodes=n[1-4]", "AllowGroups=games", "State=UP"),
    ("scontrol", "create", "PartitionName=nolab", "Nodes=n[1-4]", "DenyAccounts=lab", "State=UP"),
    ("scontrol", "create", "PartitionName=nohigh", "Nodes=n[1-4]", "DenyQos=high", "State=UP"),
    ("scontrol", "create", "PartitionName=secret", "Nodes=n[1-2]", "Hidden=YES", "State=UP"),
)  # fmt: skip
"""Rules that the development cluster has not by itself: a test adds them and takes them away again."""

RULED_OUT: dict[str, tuple[str, Request]] = {
    "fewer GPUs than the QOS is for": ("limit-least", ask(qos="atleast", gpus=1)),
    "no GPU where the QOS is for them": ("limit-least", ask(qos="atleast")),
    "more GPUs on a node than the QOS gives": ("limit-node", ask(qos="pernode", gpus=3)),
    "more core-minutes than the QOS gives": ("limit-minutes", ask(qos="minutes", cores=8, hours=8 * MINUTES)),
    "a QOS in which nothing runs": ("limit-jobs", ask(qos="nothing")),
    "a QOS for reservations": ("qos-reservation", ask(qos="booked")),
    "more than the account above gives": ("limit-group", ask(account="squad", gpus=5)),
    "twice that, with a factor of two": ("limit-group", ask(account="squad", gpus=8, nodes=2, qos="double")),
    "an account for another partition": ("account", ask(account="dated")),
    "more cores than the partition gives on a node": ("cores", ask(partition="narrow", cores=3)),
    "more time than the partition's QOS gives": ("time-limit", ask(partition="hurried", hours=0.25)),
    "more time than the stronger QOS gives": (
        "time-limit",
        ask(partition="hurried", qos="stronger", hours=41 * MINUTES),
    ),
    "more memory than the partition gives on a node": ("memory", ask(partition="lean", mem_gb=2)),
    "memory that is paid with more cores than there are": ("cores", ask(partition="paid", mem_gb=9)),
    "a partition for reservations": ("partition-reservation", ask(partition="reserved")),
    "a partition that is not for root": ("partition-user", ask(partition="people")),
    "a partition closed to the account": ("partition-account", ask(partition="nolab")),
    "a partition closed to the QOS": ("partition-qos", ask(partition="nohigh", qos="high")),
    "more nodes than a hidden partition has": ("nodes", ask(partition="secret", nodes=3)),
}
RULED_IN: dict[str, Request] = {
    "as many GPUs as the QOS is for": ask(qos="atleast", gpus=2),
    "as many GPUs on a node as the QOS gives": ask(qos="pernode", gpus=2, nodes=2),
    "as many core-minutes as the QOS gives": ask(qos="minutes", cores=6, hours=10 * MINUTES),
    "a QOS that stands over the partition's time": ask(partition="eval", qos="longer", hours=3),
    "a QOS that stands over the partition's most nodes": ask(partition="solo", qos="longer", nodes=2),
    "a QOS that stands over the partition's least nodes": ask(partition="wide", qos="longer"),
    "as much as the account above gives": ask(account="squad", gpus=4),
    "twice that, with a factor of two": ask(account="squad", gpus=8, qos="double"),
    "an account for its partition": ask(account="dated", partition="eval"),
    "as many cores as the partition gives on a node": ask(partition="narrow", cores=2, nodes=4),
    "as much time as the partition's QOS gives": ask(partition="hurried", hours=10 * MINUTES),
    "a QOS that stands over the partition's": ask(partition="hurried", qos="stronger", hours=40 * MINUTES),
    "memory that is paid with more cores": ask(partition="paid", mem_gb=7),
    "groups do not hold for root": ask(partition="gamers"),
    "a partition closed to other accounts": ask(partition="nolab", account="small"),
    "a hidden partition": ask(partition="secret", nodes=2),
}
