"""What a Slurm cluster is, offers and allows, as it tells one user. Plain values.

Made by slurm_records.py from the texts of Slurm's commands, judged by submit/preflight; a test can write
them down. The surprise: what cannot be read limits nothing. It is named in `unread`, and sbatch has the
last word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from stair.cluster.limits import Association, Qos
from stair.cluster.slurm_text import Gres
from stair.frozen import frozen

GONE = frozenset({"DOWN", "ERROR", "FUTURE", "UNKNOWN"})
UNFIT = frozenset(
    {"DRAIN", "DRAINED", "DRAINING", "FAIL", "INVALID", "INVALID_REG", "NOT_RESPONDING", "DOWN"}
)
"""States and flags of a node that takes no job now: scontrol(1), sinfo(1)."""


@frozen
class Partition:
    """A queue and its rules."""

    name: str
    state: str = "UP"
    """UP, DOWN (queues, starts nothing), DRAIN (starts, queues nothing), INACTIVE (neither)."""
    default: bool = False
    nodes: tuple[str, ...] = ()
    max_time_s: int | None = None
    min_nodes: int = 0
    max_nodes: int | None = None
    max_cpus_per_node: int | None = None
    max_mem_per_node: int | None = None
    """MiB."""
    max_mem_per_cpu: int | None = None
    groups: tuple[str, ...] | None = None
    """AllowGroups; None: all."""
    accounts: tuple[str, ...] | None = None
    denied_accounts: tuple[str, ...] = ()
    allowed_qos: tuple[str, ...] | None = None
    denied_qos: tuple[str, ...] = ()
    qos: str = ""
    """The partition's own QOS: its limits come before those of the job's."""
    root_only: bool = False
    no_root: bool = False
    needs_reservation: bool = False
    preempt_mode: str = ""


@frozen
class Node:
    """One node, as configured and as it stands now."""

    name: str
    state: str = "IDLE"
    flags: frozenset[str] = frozenset()
    cpus: int = 1
    """That jobs can have: CPUEfctv where Slurm tells it."""
    memory: int = 0
    """MiB that jobs can have: RealMemory without MemSpecLimit."""
    gres: tuple[Gres, ...] = ()
    features: frozenset[str] = frozenset()
    reason: str = ""

    @property
    def up(self) -> bool:
        """Whether it takes jobs now, or after the ones it runs."""
        return self.state not in GONE and not self.flags & UNFIT

    def count(self, name: str, kind: str = "") -> int:
        """How many GRES of a name, and of a type where one is given. Slurm tells capitals apart here."""
        return sum(gres.count for gres in self.gres if gres.name == name and kind in ("", gres.type))


@frozen
class SlurmFacts:
    """A cluster as its Slurm tells it to one user."""

    version: str = ""
    cluster: str = ""
    max_array_size: int = 1001
    """Indices of an array are below it."""
    max_job_count: int = 10000
    """Jobs, and members of arrays, that slurmctld keeps at once."""
    job_requeue: bool = True
    preempt_mode: str = "OFF"
    preempt_type: str = ""
    sends_user_signal: bool = False
    """A job with --signal gets that signal at preemption too, before SIGTERM."""
    kill_wait_s: int = 30
    enforce: frozenset[str] = frozenset()
    """AccountingStorageEnforce: associations, limits, qos, safe, …"""
    part_limits: str = "NO"
    """EnforcePartLimits: NO, ANY or ALL partitions of a list must be able to run a job."""
    accounting: bool = False
    """Whether the cluster has a slurmdbd."""
    gres_types: tuple[str, ...] = ()
    max_mem_per_node: int | None = None
    max_mem_per_cpu: int | None = None
    partitions: Mapping[str, Partition] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    user: str = ""
    administrator: bool = False
    """root or SlurmUser: AllowGroups does not hold for them."""
    groups: frozenset[str] = frozenset()
    associations: tuple[Association, ...] | None = None
    """Those of the user, and the accounts'; None: not known."""
    default_account: str = ""
    qos: Mapping[str, Qos] | None = None
    unread: tuple[str, ...] = ()
    """What could not be read or asked, and why."""

    @property
    def default_partition(self) -> str:
        """The partition of a job that names none; empty when there is none."""
        return next((part.name for part in self.partitions.values() if part.default), "")
