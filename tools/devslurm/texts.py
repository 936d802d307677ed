"""A Cluster becomes the texts that Slurm reads: slurm.conf, gres.conf, slurmdbd.conf, hosts.

Pure: what is written is decided here and nowhere else. The partitions are chosen so that every reason for
which a real cluster refuses a request, or lets it wait for ever, can be met on this one.
"""

from __future__ import annotations

from tools.devslurm.shape import HEAD, Cluster, node_range

CTLD_PORT, DBD_PORT, DATABASE_PORT = 6817, 6819, 3306
"""The usual ports; each cluster has them in its own namespaces."""


def slurm_conf(cluster: Cluster) -> str:
    """The slurm.conf that daemons and commands share."""
    lines = [
        "# Written by tools/devcluster up; changes are lost.",
        "ClusterName=stair",
        f"SlurmctldHost={HEAD}({cluster.head})",
        f"SlurmctldPort={CTLD_PORT}",
        "SlurmUser=root",
        "SlurmdUser=root",
        "AuthType=auth/munge",
        f"AuthInfo=socket={cluster.munge_socket},cred_expire={cluster.shape.hold_s}",
        "CredType=cred/munge",
        f"StateSaveLocation={cluster.root}/state",
        f"SlurmdSpoolDir={cluster.root}/spool/%n",
        f"SlurmctldPidFile={cluster.pids}/slurmctld.pid",
        f"SlurmdPidFile={cluster.pids}/slurmd.%n.pid",
        f"SlurmctldLogFile={cluster.logs}/slurmctld.log",
        f"SlurmdLogFile={cluster.logs}/slurmd.%n.log",
        "SlurmctldDebug=info",
        "SlurmdDebug=info",
        "MailProg=/bin/true",
        "RebootProgram=/bin/true",
        "MpiDefault=none",
        "# No systemd and no cgroup delegation: processes are followed through /proc, nothing is confined.",
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "JobAcctGatherType=jobacct_gather/linux",
        "JobAcctGatherFrequency=2",
        "# A few real cores pretend to be many.",
        "SlurmdParameters=config_overrides",
        "SchedulerType=sched/backfill",
        "SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0,sched_min_interval=0",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core_Memory",
        f"DefMemPerCPU={max(1, cluster.shape.memory_mb // cluster.shape.cpus)}",
        "PriorityType=priority/multifactor",
        "PriorityWeightQOS=1000",
        "GresTypes=gpu",
        "Licenses=simulator:2",
        f"MaxArraySize={cluster.shape.max_array}",
        "MaxJobCount=10000",
        f"EnforcePartLimits={cluster.shape.part_limits.upper()}",
        "JobRequeue=1",
        "# A lost node is noticed after half a minute, a job forgotten after five.",
        "SlurmdTimeout=20",
        "SlurmctldTimeout=30",
        "MessageTimeout=10",
        "BatchStartTimeout=10",
        "KillWait=5",
        "MinJobAge=300",
        "InactiveLimit=0",
        "Waittime=0",
        "OverTimeLimit=0",
        "ReturnToService=2",
        *_preemption(cluster),
        *_accounting(cluster),
        *_nodes(cluster),
        *_partitions(cluster),
    ]
    return "\n".join(lines) + "\n"


def _preemption(cluster: Cluster) -> list[str]:
    shape = cluster.shape
    signal = ["SlurmctldParameters=preempt_send_user_signal"] if shape.user_signal else []
    if shape.preempt_mode == "off":
        return [*signal, "PreemptType=preempt/none", "PreemptMode=OFF"]
    # Without slurmdbd there are no QOS; partitions then decide who makes room for whom.
    kind = "preempt/qos" if shape.accounting else "preempt/partition_prio"
    return [*signal, f"PreemptType={kind}", f"PreemptMode={shape.preempt_mode.upper()}"]


def _accounting(cluster: Cluster) -> list[str]:
    if not cluster.shape.accounting:
        return ["AccountingStorageType=accounting_storage/none"]
    return [
        "AccountingStorageType=accounting_storage/slurmdbd",
        f"AccountingStorageHost={cluster.head}",
        f"AccountingStoragePort={DBD_PORT}",
        f"AccountingStoragePass={cluster.munge_socket}",
        "AccountingStorageTRES=gres/gpu",
        "AccountingStorageEnforce=associations,limits,qos",
        "AccountingStoreFlags=job_comment",
    ]


def _nodes(cluster: Cluster) -> list[str]:
    return [
        f"NodeName={node.name} NodeAddr={node.address} NodeHostname={node.name} CPUs={node.cpus}"
        f" Boards=1 SocketsPerBoard=1 CoresPerSocket={node.cpus} ThreadsPerCore=1"
        f" RealMemory={node.memory_mb} Feature={node.gpu},ib"
        + (f" Gres=gpu:{node.gpu}:{node.gpus}" if node.gpus else "")
        + " State=UNKNOWN"
        for node in cluster.nodes
    ]


def _partitions(cluster: Cluster) -> list[str]:
    all_nodes = node_range(1, cluster.shape.nodes)
    h100 = node_range(1, cluster.first_half)
    grace = cluster.shape.grace_s
    ours = "PriorityTier=10 PreemptMode=OFF"
    if cluster.shape.preempt_mode == "off":
        ours, requeue, cancel = "", "", ""
    else:
        requeue = f"PriorityTier=1 PreemptMode={cluster.shape.preempt_mode.upper()} GraceTime={grace}"
        cancel = f"PriorityTier=1 PreemptMode=CANCEL GraceTime={grace}"
    partitions = [
        ("train", all_nodes, f"Default=YES MaxTime=7-00:00:00 DefaultTime=00:10:00 State=UP {ours}"),
        ("eval", all_nodes, f"MaxTime=01:00:00 DefaultTime=00:05:00 State=UP {ours}"),
        ("solo", all_nodes, f"MaxTime=00:30:00 DefaultTime=00:05:00 MaxNodes=1 State=UP {ours}"),
        ("wide", all_nodes, f"MaxTime=02:00:00 DefaultTime=00:05:00 MinNodes=2 State=UP {ours}"),
        ("h100", h100, f"MaxTime=1-00:00:00 DefaultTime=00:10:00 State=UP {ours}"),
        ("low-requeue", all_nodes, f"MaxTime=1-00:00:00 DefaultTime=00:10:00 State=UP {requeue}"),
        ("low-cancel", all_nodes, f"MaxTime=1-00:00:00 DefaultTime=00:10:00 State=UP {cancel}"),
        ("high-only", all_nodes, f"MaxTime=01:00:00 DefaultTime=00:05:00 AllowQos=high State=UP {ours}"),
        ("partners", all_nodes, f"MaxTime=01:00:00 DefaultTime=00:05:00 AllowAccounts=other State=UP {ours}"),
        ("closed", all_nodes, f"MaxTime=01:00:00 DefaultTime=00:05:00 State=DOWN {ours}"),
        ("draining", all_nodes, f"MaxTime=01:00:00 DefaultTime=00:05:00 State=DRAIN {ours}"),
        ("retired", all_nodes, f"MaxTime=01:00:00 DefaultTime=00:05:00 State=INACTIVE {ours}"),
    ]
    return [f"PartitionName={name} Nodes={nodes} {rest}".rstrip() for name, nodes, rest in partitions]


def gres_conf(cluster: Cluster) -> str:
    """Which device files pass for GPUs on which node: Slurm takes only real character devices."""
    lines = []
    for node in cluster.nodes:
        if node.gpus:
            files = "0" if node.gpus == 1 else f"[0-{node.gpus - 1}]"
            device = f"{cluster.devices}/fakegpu{files}"
            lines.append(f"NodeName={node.name} Name=gpu Type={node.gpu} File={device}")
    return "".join(f"{line}\n" for line in lines)


def slurmdbd_conf(cluster: Cluster) -> str:
    """slurmdbd's configuration; holds the password of the private data base, so it must have mode 600."""
    return "\n".join(
        [
            "AuthType=auth/munge",
            f"AuthInfo=socket={cluster.munge_socket}",
            f"DbdHost={HEAD}",
            f"DbdAddr={cluster.head}",
            f"DbdPort={DBD_PORT}",
            "SlurmUser=root",
            f"PidFile={cluster.pids}/slurmdbd.pid",
            f"LogFile={cluster.logs}/slurmdbd.log",
            "DebugLevel=info",
            "StorageType=accounting_storage/mysql",
            "StorageHost=127.0.0.1",
            f"StoragePort={DATABASE_PORT}",
            "StorageUser=slurm",
            "StoragePass=slurm",
            "StorageLoc=slurm_acct_db",
            "",
        ]
    )


def database_sql() -> str:
    """Makes the data base and its user; may be run again."""
    places = ("localhost", "127.0.0.1")
    return "".join(
        [
            "create database if not exists slurm_acct_db;",
            *(f"create user if not exists 'slurm'@'{place}' identified by 'slurm';" for place in places),
            *(f"grant all on slurm_acct_db.* to 'slurm'@'{place}';" for place in places),
            "flush privileges;",
        ]
    )


def hosts(cluster: Cluster, submit_host: str) -> str:
    """/etc/hosts of every namespace. `submit_host` is the name of the machine itself."""
    lines = ["127.0.0.1 localhost", "::1 localhost", f"{cluster.head} {HEAD}"]
    lines += [f"{node.address} {node.name}" for node in cluster.nodes]
    if submit_host not in (HEAD, "localhost", *(node.name for node in cluster.nodes)):
        lines.append(f"{cluster.host} {submit_host}")
    return "\n".join(lines) + "\n"


def files(cluster: Cluster, submit_host: str) -> dict[str, str]:
    """Every file under ROOT/etc by name."""
    texts = {
        "slurm.conf": slurm_conf(cluster),
        "gres.conf": gres_conf(cluster),
        "cgroup.conf": "CgroupPlugin=autodetect\n",
        "plugstack.conf": "",
        "hosts": hosts(cluster, submit_host),
        # A name server that cannot be reached costs 10 s per reverse look-up, as in torch's rendezvous.
        "resolv.conf": "# no name server in here\n",
    }
    if cluster.shape.accounting:
        texts["slurmdbd.conf"] = slurmdbd_conf(cluster)
    return texts
