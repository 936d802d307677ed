"""A Cluster becomes the sacctmgr commands that fill its accounting: who may do what, and how much.

    accounts  lab (root's default)   small (one node, ten minutes)   spent (takes no job)   other (not root's)
    QOS       low < normal < high    low-cancel    short (refuses more)    capped (lets more wait for ever)

Pure. Each entity is added and then modified, since `add` leaves alone what exists: all of it may be run
again. The surprise: GPUs can be limited only once the controller has told slurmdbd that there are any.
"""

from __future__ import annotations

from tools.devslurm.shape import Cluster

CLUSTER = ("add", "cluster", "stair")
"""Before the controller starts; the rest afterwards."""
LAB_QOS = ("normal", "low", "low-cancel", "high", "short", "capped")


def commands(cluster: Cluster) -> list[tuple[str, ...]]:
    """The words after `sacctmgr --immediate`, in order."""
    grace = f"gracetime={cluster.shape.grace_s}"
    victims = "" if cluster.shape.preempt_mode == "off" else "low,low-cancel"
    qos = {
        # `cluster` follows PreemptMode of slurm.conf.
        "low": ("priority=0", "preemptmode=cluster", grace),
        "low-cancel": ("priority=0", "preemptmode=cancel", grace),
        "normal": ("priority=10", f"preempt={victims}"),
        "high": ("priority=100", f"preempt={victims}"),
        "short": (
            *("priority=20", "maxwall=00:30:00", "flags=DenyOnLimit", "maxsubmitjobsperuser=20"),
            *("maxtresperuser=cpu=8,gres/gpu=4", "maxtresperjob=node=2"),
        ),
        "capped": ("priority=5", "grptres=node=1", "maxtresperjob=cpu=4"),
    }
    accounts = {
        "lab": (f"qos={','.join(LAB_QOS)}", "defaultqos=normal"),
        "small": ("qos=normal", "maxtresperjob=node=1", "maxwall=00:10:00"),
        "spent": ("qos=normal", "grpsubmitjobs=0"),
    }
    return [
        ("add", "qos", ",".join(qos)),
        *(("modify", "qos", name, "set", *values) for name, values in qos.items()),
        ("add", "account", ",".join([*accounts, "other"])),
        ("add", "user", "root", f"account={','.join(accounts)}", "defaultaccount=lab", "adminlevel=admin"),
        *(("modify", "account", name, "set", *values) for name, values in accounts.items()),
        ("modify", "user", "root", "set", "defaultaccount=lab"),
    ]
