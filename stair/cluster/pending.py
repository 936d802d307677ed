"""Why a job waits, in plain words with a cure: Slurm's reason codes as a table.

Takes a reason as squeue prints it, hands on an Explanation. The names are those of
slurm.schedmd.com/job_reason_codes.html and of Slurm's job_state_reason.c, 22.05 to 25.05. Limits come in
hundreds of combinations (QOSMaxGRESPerUser, AssocGrpCPUMinutesLimit); those are put together from their
parts. The surprise: many codes are about the cluster's turn-taking and need no cure at all.
"""

from __future__ import annotations

import re
from functools import lru_cache

from stair.frozen import frozen


@frozen
class Explanation:
    """What a reason means, and what to do about it."""

    means: str
    cure: str = ""
    """Empty: wait."""
    stuck: bool = False
    """Waiting alone will not help."""


WHY = "scontrol show job JOB"

REASONS: dict[str, Explanation] = {
    # the queue's normal course
    "None": Explanation("Slurm has not looked at it yet"),
    "Priority": Explanation(
        "others are before it in the queue", "`sprio -l -j JOB` shows what its place is made of"
    ),
    "Resources": Explanation("it is next, as soon as enough nodes are free"),
    "Prolog": Explanation("the nodes are being prepared for it"),
    "Cleaning": Explanation("its attempt before is still being cleaned up"),
    "BeginTime": Explanation(
        "it may not start before a set time; after a requeue Slurm waits two minutes",
        "`scontrol update JobId=JOB StartTime=now` starts it sooner",
    ),
    "SchedDefer": Explanation("the scheduler looks at jobs later, all together"),
    "FedJobLock": Explanation("the clusters of the federation agree who runs it"),
    "PowerNotAvail": Explanation("there is not enough electrical power for more nodes"),
    "PowerReserved": Explanation("electrical power is kept for a reservation"),
    "JobArrayTaskLimit": Explanation(
        "as many members of its array run as are allowed at once",
        "slurm.parallel_members of the cluster's profile, or `scontrol update JobId=JOB ArrayTaskThrottle=N`",
    ),
    # dependencies
    "Dependency": Explanation("it waits for another job to end"),
    "DependencyNeverSatisfied": Explanation(
        "a job that it waits for did not end well, so it will never start",
        "cure what failed first, then repeat the submission",
        stuck=True,
    ),
    # holds
    "JobHeldUser": Explanation("somebody has put it on hold", "`scontrol release JOB`", stuck=True),
    "JobHeldAdmin": Explanation(
        "an administrator has put it on hold, or it could not be launched",
        "`scontrol release JOB`; if that is refused, ask the administrators",
        stuck=True,
    ),
    "JobHoldMaxRequeue": Explanation(
        "it failed to launch so often that Slurm put it on hold (MAX_BATCH_REQUEUE)",
        "`scontrol release JOB`; if it comes back, exclude the node that it fails on",
        stuck=True,
    ),
    "JobLaunchFailure": Explanation(
        "it could not be launched: a node, a file system or the script is broken",
        "`scontrol release JOB`, or repeat the submission with the node in slurm.exclude",
        stuck=True,
    ),
    "SystemFailure": Explanation(
        "Slurm, a file system or the network failed",
        "ask the administrators, then repeat the submission",
        stuck=True,
    ),
    # nodes, partitions, reservations
    "ReqNodeNotAvail": Explanation(
        "nodes that it needs are down, drained, reserved or busy",
        "`sinfo -R` says why; wait, or ask for fewer nodes or another partition",
    ),
    "NodeDown": Explanation("a node that it needs is down", "`sinfo -R` says why; wait, or use other nodes"),
    "FrontEndDown": Explanation("no front-end node is up", "ask the administrators"),
    "PartitionDown": Explanation(
        "its partition starts no jobs (state DOWN)", "wait, or use another partition"
    ),
    "PartitionInactive": Explanation("its partition is inactive", "use another partition", stuck=True),
    "PartitionNodeLimit": Explanation(
        "it asks for more nodes, or fewer, than its partition allows or has up",
        "`scontrol show partition` names the limits; --nodes",
        stuck=True,
    ),
    "PartitionTimeLimit": Explanation(
        "its time limit is longer than its partition allows",
        "--hours, or another partition; training goes on in the next attempt",
        stuck=True,
    ),
    "PartitionConfig": Explanation(
        "it breaks a rule of its partition", "`scontrol show partition` names the rules", stuck=True
    ),
    "MaxMemPerLimit": Explanation(
        "it asks for more memory per CPU or node than is allowed", "resources.mem_gb", stuck=True
    ),
    "BadConstraints": Explanation(
        "no node can ever give what it asks for",
        "compare slurm.constraint, GPUs, cores and memory with `sinfo -o '%P %N %c %m %G %f'`",
        stuck=True,
    ),
    "Constraints": Explanation(
        "no node with the wanted features is free at present", "wait, or ask for less in slurm.constraint"
    ),
    "Licenses": Explanation("it waits for a licence", "`scontrol show lic` shows who has them"),
    "Reservation": Explanation("its reservation has not begun or is full", "`scontrol show reservation`"),
    "ReservationDeleted": Explanation(
        "its reservation no longer exists",
        "submit without slurm.reservation, or with another one",
        stuck=True,
    ),
    "ReservationInvalid": Explanation(
        "its reservation cannot be used by it",
        "`scontrol show reservation` names users and nodes",
        stuck=True,
    ),
    "BurstBufferResources": Explanation("the burst buffer is full"),
    "BurstBufferStageIn": Explanation("its data are being copied to the burst buffer"),
    "BurstBufferOperation": Explanation(
        "the burst buffer failed", "`scontrol release JOB`, or ask the administrators", stuck=True
    ),
    # who may run what
    "InvalidAccount": Explanation(
        "its account does not exist",
        "`sacctmgr show assoc user=$USER` lists yours; slurm.account",
        stuck=True,
    ),
    "AccountNotAllowed": Explanation(
        "its account may not use this partition", "slurm.account, or another partition", stuck=True
    ),
    "InvalidQOS": Explanation(
        "its QOS does not exist",
        "`sacctmgr show assoc user=$USER format=qos` lists yours; slurm.qos",
        stuck=True,
    ),
    "QOSNotAllowed": Explanation(
        "its QOS may not be used with this account or partition",
        "slurm.qos, or another partition",
        stuck=True,
    ),
    "QOSUsageThreshold": Explanation("too much was used under its QOS lately", "wait, or use another QOS"),
    "AccountingPolicy": Explanation(
        "some limit of its account or QOS is reached", "`sacctmgr show assoc user=$USER`"
    ),
    "AssociationJobLimit": Explanation(
        "your account runs as many jobs as it may", "wait for others of yours to end"
    ),
    "AssociationResourceLimit": Explanation("your account uses as much as it may", "wait for others to end"),
    "AssociationTimeLimit": Explanation(
        "your account has used up its time", "use another account, or ask for more"
    ),
    "QOSJobLimit": Explanation("as many jobs run under its QOS as may", "wait for others to end"),
    "QOSResourceLimit": Explanation(
        "its QOS uses as much as it may", "wait for others to end, or use another QOS"
    ),
    "QOSTimeLimit": Explanation("its QOS has used up its time", "use another QOS, or ask for more"),
    # how it ended; a job that is requeued may carry these for a while
    "NonZeroExitCode": Explanation("it ended with an error"),
    "RaisedSignal": Explanation("it was ended by a signal"),
    "TimeLimit": Explanation("its time was up", "--hours; training goes on in the next attempt"),
    "InactiveLimit": Explanation("no word came from its srun or salloc for too long"),
    "OutOfMemory": Explanation("it used more memory than it had asked for", "resources.mem_gb"),
    "DeadLine": Explanation("it could not meet its deadline", "submit without --deadline", stuck=True),
}
"""Every reason that is not a limit put together from parts."""

DESCRIPTIONS: dict[str, Explanation] = {
    "launch failed requeued held": REASONS["JobHoldMaxRequeue"],
    "job requeued in held state": Explanation(
        "it was requeued on hold", "`scontrol release JOB`", stuck=True
    ),
    "unavailablenodes": REASONS["ReqNodeNotAvail"],
    "may be reserved for other job": Explanation(
        "the nodes are kept for a reservation or for jobs of higher priority",
        "a shorter --hours may fit before it",
    ),
    "reserved for maintenance": Explanation(
        "the nodes are kept for a maintenance that would begin before it could end",
        "a shorter --hours may fit before it; else it starts afterwards",
    ),
    "nodes required for job are down, drained or reserved": REASONS["ReqNodeNotAvail"],
    "prolog": Explanation(
        "the preparation of its nodes failed",
        "`scontrol release JOB`; if it comes back, exclude the node",
        stuck=True,
    ),
}
"""Sentences that Slurm prints in place of a code (state_desc), by a part of them in lower case."""

_WHOSE = {
    "Assoc": "your account's association",
    "QOS": "its QOS",
    "": "its QOS",  # Max…PerAccount
}
_WHAT = {
    "cpu": "cores",
    "mem": "memory",
    "memory": "memory",
    "node": "nodes",
    "gres": "GPUs or other GRES",
    "energy": "energy",
    "license": "licences",
    "bb": "burst buffer",
    "billing": "billing units",
    "jobs": "jobs at once",
    "submitjobs": "submitted jobs",
    "submitjob": "submitted jobs",
    "wall": "wall time",
    "wallduration": "wall time",
    "unknown": "some resource",
}
_PER = {"Job": "a job", "Node": "a node", "User": "a user", "Account": "an account"}
_LIMIT = re.compile(
    r"(?P<whose>Assoc|QOS|)(?P<kind>Grp|Max|Min)"
    r"(?P<what>CPU|Cpu|Memory|Mem|Node|GRES|Energy|License|BB|Billing|Jobs|SubmitJobs|SubmitJob"
    r"|WallDuration|Wall|Unknown)"
    r"(?P<run>Run)?(?P<minutes>Minutes)?(?:Per(?P<per>Job|Node|User|Account))?(?:NotSatisfied)?(?:Limit)?"
)


def explain(reason: str, job: str = "") -> Explanation:
    """The explanation of a reason; of one nobody knows, what it is called and how to find out more."""
    said = reason.strip().strip("()")
    found = _find(said)
    return Explanation(found.means, found.cure.replace("JOB", job or "JOB"), found.stuck)


@lru_cache(maxsize=64)  # the members of an array all wait for the same
def _find(said: str) -> Explanation:
    code, _, rest = said.partition(",")
    code = code.split(":")[0].strip()
    for part, explanation in DESCRIPTIONS.items():
        # A code with a sentence behind it is explained by the sentence: it says more.
        if part in (rest if code in REASONS else said).lower().replace("_", " "):
            nodes = re.search(r"UnavailableNodes:(\S+)", said)
            if nodes:
                means = f"nodes that it needs are down, drained or not responding: {nodes[1]}"
                return Explanation(means, explanation.cure)
            return explanation
    if code in REASONS or not said:
        return REASONS[code or "None"]
    match = _LIMIT.fullmatch(code)
    if match:
        return _limit(match)
    return Explanation(f"Slurm says '{said}'", f"`{WHY}` and the cluster's documentation say more")


def _limit(match: re.Match[str]) -> Explanation:
    whose, kind, per = match["whose"], match["kind"], match["per"]
    owner, what = _WHOSE[whose], _WHAT[match["what"].lower()]
    if match["minutes"]:
        what = f"minutes of {what}" + (" of running jobs" if match["run"] else "")
    look = (
        "`sacctmgr show assoc user=$USER` lists the limits"
        if whose == "Assoc"
        else "`sacctmgr show qos` lists the limits"
    )
    if kind == "Min":
        return Explanation(
            f"it asks for fewer {what} than {owner} demands", f"ask for more; {look}", stuck=True
        )
    if kind == "Grp":
        return Explanation(f"everybody's jobs together have reached the {what} of {owner}", f"wait; {look}")
    if per in ("Job", "Node"):
        means = f"it asks for more {what} than {owner} allows for {_PER[per]}"
        return Explanation(means, f"ask for less, or use another QOS; {look}", stuck=True)
    who = {"User": "you", "Account": "your account"}.get(per or "", "you")
    have = "has" if who == "your account" else "have"
    means = f"{who} {have} reached the {what} that {owner} allows" + (f" {_PER[per]}" if per else "")
    return Explanation(means, f"wait for others of yours to end; {look}")
