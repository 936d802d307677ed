"""The texts of Slurm's commands become SlurmFacts. Pure.

Takes what slurm.py asked for, hands on SlurmFacts. The surprise: the three sacctmgr tables come in one
text, each with its header, because one process and one connection to slurmdbd are cheaper than three.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from stair.cluster import slurm_text
from stair.cluster.hostlist import expand
from stair.cluster.limits import Association, Limits, Qos
from stair.cluster.slurm_facts import Node, Partition, SlurmFacts
from stair.errors import UsageError

T = TypeVar("T")
Fields = Mapping[str, str]
Reader = Callable[[str, Callable[[str], Any], str], Any]
"""Calls a parser of slurm_text; a value that it cannot read is None, and remembered by its name."""

SHARED_LIMITS = ("MaxWall", "MaxTRES", "MaxTRESPerNode", "MaxTRESMins", "GrpTRES", "GrpTRESMins", "GrpJobs")
QOS_LIMITS = ("MaxTRESPU", "MaxTRESPA", "MinTRES", "MaxJobsPU", "MaxJobsPA", "MaxSubmitPU", "MaxSubmitPA")
LIMIT_COLUMNS = (*SHARED_LIMITS, "GrpSubmit", "GrpWall", "MaxJobs", "MaxSubmit")
QOS_COLUMNS = (
    "Name",
    "Flags",
    "LimitFactor",
    "PreemptMode",
    *SHARED_LIMITS,
    "GrpSubmit",
    "GrpWall",
    *QOS_LIMITS,
)
USER_COLUMNS = (
    "User",
    "DefaultAccount",
    "Cluster",
    "Account",
    "Partition",
    "QOS",
    "DefaultQOS",
    *LIMIT_COLUMNS,
)
ACCOUNT_COLUMNS = ("Account", "Cluster", "User", "ParentName", *LIMIT_COLUMNS)
"""What sacctmgr is asked for; names that 22.05 to 25.11 know alike."""
TABLES = {"Name": "qos", "User": "users", "Account": "accounts"}
"""Each table by the title of its first column."""


def make_facts(
    config_text: str,
    partition_text: str,
    node_text: str,
    accounting_text: str | None,
    *,
    user: str,
    groups: frozenset[str] = frozenset(),
    unread: Sequence[str] = (),
) -> SlurmFacts:
    """The facts from what `scontrol show config`, `show partition`, `show node` and sacctmgr print.

    `accounting_text` is None where there is no accounting, or where it did not answer.
    """
    config = slurm_text.config(config_text)
    missed = list(unread)
    read = functools.partial(_read, missed)
    cluster = config.get("ClusterName", "")
    parameters = {
        word.strip().removeprefix("preempt_").lower()
        for key in ("SlurmctldParameters", "PreemptParameters")
        for word in config.get(key, "").split(",")
    }
    parts = [
        _partition(record, read) for record in slurm_text.records(partition_text) if "PartitionName" in record
    ]
    nodes = [_node(record, read) for record in slurm_text.records(node_text) if "NodeName" in record]
    associations, default_account, qos = _accounting(accounting_text, cluster, user, read)
    return SlurmFacts(
        version=config.get("SLURM_VERSION", ""),
        cluster=cluster,
        max_array_size=read("MaxArraySize", slurm_text.count, config.get("MaxArraySize", "")) or 1001,
        max_job_count=read("MaxJobCount", slurm_text.count, config.get("MaxJobCount", "")) or 10000,
        job_requeue=config.get("JobRequeue", "1") not in ("0", "No"),
        preempt_mode=config.get("PreemptMode", "OFF"),
        preempt_type=config.get("PreemptType", ""),
        sends_user_signal="send_user_signal" in parameters,
        kill_wait_s=read("KillWait", slurm_text.seconds, config.get("KillWait", "")) or 30,
        enforce=frozenset(
            w.strip().lower() for w in (slurm_text.names(config.get("AccountingStorageEnforce", "")) or ())
        ),
        part_limits=config.get("EnforcePartLimits", "NO").upper(),
        accounting="slurmdbd" in config.get("AccountingStorageType", ""),
        gres_types=slurm_text.names(config.get("GresTypes", "")) or (),
        max_mem_per_node=read("MaxMemPerNode", slurm_text.megabytes, config.get("MaxMemPerNode", "")) or None,
        max_mem_per_cpu=read("MaxMemPerCPU", slurm_text.megabytes, config.get("MaxMemPerCPU", "")) or None,
        partitions={part.name: part for part in parts},
        nodes={node.name: node for node in nodes},
        user=user,
        administrator=user in ("root", config.get("SlurmUser", "").partition("(")[0]),
        groups=groups,
        associations=associations,
        default_account=default_account,
        qos=qos,
        unread=tuple(dict.fromkeys(missed)),
    )


def _read(missed: list[str], name: str, how: Callable[[str], T], text: str) -> T | None:
    try:
        return how(text)
    except (ValueError, UsageError):
        missed.append(f"{name} '{text}'")
        return None


@functools.lru_cache(maxsize=64)
def _nodes(text: str) -> tuple[str, ...]:
    """Cached, since many partitions have the very same nodes."""
    return () if text == "(null)" else expand(text)


def _partition(record: Fields, read: Reader) -> Partition:
    get, name = record.get, record["PartitionName"]

    def value(key: str, how: Callable[[str], T]) -> T | None:
        return read(f"{key} of partition {name}", how, get(key, ""))

    return Partition(
        name=name,
        state=get("State", "UP").upper(),
        default=get("Default") == "YES",
        nodes=value("Nodes", _nodes) or (),
        max_time_s=value("MaxTime", slurm_text.seconds),
        min_nodes=value("MinNodes", slurm_text.count) or 0,
        max_nodes=value("MaxNodes", slurm_text.count),
        max_cpus_per_node=value("MaxCPUsPerNode", slurm_text.count),
        max_mem_per_node=value("MaxMemPerNode", slurm_text.megabytes) or None,
        max_mem_per_cpu=value("MaxMemPerCPU", slurm_text.megabytes) or None,
        groups=slurm_text.names(get("AllowGroups", "")),
        accounts=slurm_text.names(get("AllowAccounts", "")),
        denied_accounts=slurm_text.names(get("DenyAccounts", "")) or (),
        allowed_qos=slurm_text.names(get("AllowQos", "")),
        denied_qos=slurm_text.names(get("DenyQos", "")) or (),
        qos="" if get("QoS", "N/A") in ("N/A", "(null)") else get("QoS", ""),
        root_only=get("RootOnly") == "YES",
        no_root=get("DisableRootJobs") == "YES",
        needs_reservation=get("ReqResv") == "YES",
        preempt_mode=get("PreemptMode", ""),
    )


def _node(record: Fields, read: Reader) -> Node:
    get, name = record.get, record["NodeName"]

    def value(key: str, how: Callable[[str], T]) -> T | None:
        return read(f"{key} of node {name}", how, get(key, ""))

    state, flags = slurm_text.node_state(get("State", ""))
    memory = (value("RealMemory", slurm_text.megabytes) or 0) - (
        value("MemSpecLimit", slurm_text.megabytes) or 0
    )
    features = slurm_text.names(get("AvailableFeatures", get("Features", ""))) or ()
    return Node(
        name=name,
        state=state,
        flags=flags,
        cpus=value("CPUEfctv", slurm_text.count) or value("CPUTot", slurm_text.count) or 1,
        memory=memory,
        gres=value("Gres", slurm_text.gres) or (),
        features=frozenset(features),
        reason=get("Reason", ""),
    )


def _accounting(
    text: str | None, cluster: str, user: str, read: Reader
) -> tuple[tuple[Association, ...] | None, str, Mapping[str, Qos] | None]:
    if text is None:
        return None, "", None
    tables = slurm_text.tables(text, TABLES)
    rows = [row for row in tables.get("users", []) if row.get("Cluster") in (cluster, "", None)]
    users = [_association(row, read) for row in rows if row.get("Account")]
    accounts = [
        _association(row, read)
        for row in tables.get("accounts", [])
        if not row.get("User") and row.get("Cluster") == cluster
    ]
    default = next((row.get("Def Acct", "") for row in tables.get("users", [])), "")
    qos = {row["Name"]: _qos(row, read) for row in tables.get("qos", [])}
    # An empty answer is one to a user who may not look (PrivateData), not a fact.
    return (*users, *accounts) or None, default, qos or None


def _association(row: Fields, read: Reader) -> Association:
    name = "/".join(part for part in (row.get("Account", ""), row.get("User", "")) if part)
    return Association(
        account=row.get("Account", ""),
        user=row.get("User", ""),
        partition=row.get("Partition", ""),
        parent=row.get("ParentName", ""),
        qos=frozenset(slurm_text.names(row.get("QOS", "")) or ()),
        default_qos=row.get("Def QOS", ""),
        limits=_limits(row, name, read),
    )


def _qos(row: Fields, read: Reader) -> Qos:
    factor = row.get("LimitFactor", "")
    return Qos(
        name=row["Name"],
        flags=frozenset(flag.strip().lower() for flag in row.get("Flags", "").split(",") if flag.strip()),
        factor=read("LimitFactor", float, factor) if factor else None,
        preempt_mode=row.get("PreemptMode", ""),
        limits=_limits(row, f"QOS {row['Name']}", read),
    )


def _limits(row: Fields, name: str, read: Reader) -> Limits:
    def value(key: str, how: Callable[[str], T]) -> T | None:
        return read(f"{key} of {name}", how, row.get(key, ""))

    def least(*keys: str) -> int | None:
        found = [number for key in keys if (number := value(key, slurm_text.count)) is not None]
        return min(found) if found else None

    def tres(key: str) -> dict[str, int]:
        return value(key, slurm_text.tres) or {}

    return Limits(
        wall_s=value("MaxWall", slurm_text.seconds),
        job=tres("MaxTRES"),
        node=tres("MaxTRESPerNode"),
        job_minutes=tres("MaxTRESMins"),
        group=tres("GrpTRES"),
        group_minutes=tres("GrpTRESMins"),
        user=tres("MaxTRESPU"),
        account=tres("MaxTRESPA"),
        least=tres("MinTRES"),
        jobs=least("MaxJobs", "MaxJobsPU", "MaxJobsPA"),
        submitted=least("MaxSubmit", "MaxSubmitPU", "MaxSubmitPA"),
        group_jobs=value("GrpJobs", slurm_text.count),
        group_submitted=value("GrpSubmit", slurm_text.count),
        group_wall_s=value("GrpWall", slurm_text.seconds),
    )
