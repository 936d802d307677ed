"""Who may use how much of a Slurm cluster: associations, QOS, and the limits both carry. Plain values.

Read by slurm_facts.py, judged by submit/preflight/limits.py. The surprise: `None` and an absent TRES mean
"no limit", and a limit of 0 is a real one: it lets nothing start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from stair.frozen import frozen

Tres = Mapping[str, int]
"""Trackable resources by Slurm's name: cpu, mem (MiB), node, gres/gpu, gres/gpu:h100."""


@frozen
class Limits:
    """Limits by sacctmgr(1)'s names; those of a QOS's users and accounts stay empty in an association."""

    wall_s: int | None = None
    """MaxWall: of one job."""
    job: Tres = field(default_factory=dict)
    """MaxTRES: of one job."""
    node: Tres = field(default_factory=dict)
    """MaxTRESPerNode: of one job on each of its nodes, on average."""
    job_minutes: Tres = field(default_factory=dict)
    """MaxTRESMins: TRES × minutes of one job."""
    group: Tres = field(default_factory=dict)
    """GrpTRES: of all running jobs together."""
    group_minutes: Tres = field(default_factory=dict)
    """GrpTRESMins: a budget for all jobs, ended and running."""
    user: Tres = field(default_factory=dict)
    """MaxTRESPU: of one user's running jobs."""
    account: Tres = field(default_factory=dict)
    """MaxTRESPA: of one account's running jobs."""
    least: Tres = field(default_factory=dict)
    """MinTRES: what a job must at least ask for."""
    jobs: int | None = None
    """MaxJobs of an association: running ones. For a QOS the least of its MaxJobsPU and MaxJobsPA."""
    submitted: int | None = None
    """MaxSubmit likewise: pending and running ones; every member of an array counts."""
    group_jobs: int | None = None
    group_submitted: int | None = None
    group_wall_s: int | None = None


@frozen
class Qos:
    """A quality of service."""

    name: str
    flags: frozenset[str] = frozenset()
    """In small letters, such as denyonlimit, overpartqos, partitiontimelimit."""
    factor: float | None = None
    """LimitFactor: TRES limits of associations are multiplied by it."""
    preempt_mode: str = ""
    """Empty or `cluster`: the cluster's own."""
    limits: Limits = Limits()


@frozen
class Association:
    """A user in an account, perhaps for one partition only; or, without a user, the account itself."""

    account: str
    user: str = ""
    partition: str = ""
    """Empty: for every partition."""
    parent: str = ""
    """The account above; empty for the root account and, as sacctmgr shows it, for users."""
    qos: frozenset[str] = frozenset()
    """The QOS that may be used."""
    default_qos: str = ""
    limits: Limits = Limits()
