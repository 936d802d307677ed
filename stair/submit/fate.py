"""What Slurm is about to do with a job that was told to leave.

Takes one line of `scontrol -o show job`, hands on a Fate. Measured on 22.05: a preemption with a grace time
and the warning before a time limit leave the job RUNNING; a cancelled, preempted or timed-out job is
COMPLETING, and only Reason, PreemptTime and Restarts tell which of them it is. The surprise: `scontrol
requeue` revives even a job that a person has cancelled, so it must be known first.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stair.cluster.ledger import Cause
from stair.submit.patience import patiently
from stair.submit.seat import Seat

SECONDS = 30.0


@dataclass(frozen=True)
class Fate:
    """What is known about the end of the job around us."""

    cause: Cause = ""
    """Empty: Slurm wants nothing of it, or nothing is known."""
    requeued: bool = False
    """Slurm has already arranged the next attempt."""
    cancelled: bool = False
    """A person wants it to end."""
    known: bool = True
    """False: slurmctld did not answer."""
    ends: float | None = None
    """When its time limit ends a running job, in seconds since 1970."""


def ask_fate(seat: Seat) -> Fate:
    """Asks slurmctld once about this job."""
    environment = {**os.environ, "SLURM_TIME_FORMAT": "%s"}
    try:
        command = ["scontrol", "-o", "show", "job", seat.job]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return Fate(known=False)
    if "Invalid job id" in done.stderr:
        return Fate()  # forgotten: nothing is to be expected of Slurm any more
    lines = done.stdout.splitlines()
    mine = [line for line in lines if re.match(rf"JobId={seat.raw}\b", line)] or lines
    return read_fate(mine[0], seat.restart) if done.returncode == 0 and mine else Fate(known=False)


def await_fate(seat: Seat, give_up: Callable[[], bool]) -> Fate:
    """Asks until slurmctld answers, or `give_up` says to stop. Without an answer nobody may have the job
    requeued: a person may have cancelled it."""
    return patiently(lambda: ask_fate(seat), lambda fate: fate.known, give_up=give_up)


def read_fate(line: str, restart: int) -> Fate:
    """The fate that one job's line tells; `restart` is how often this attempt was requeued before."""
    said = dict(re.findall(r"(\w+)=(\S*)", line))
    preempted = said.get("PreemptTime", "None") not in ("None", "Unknown", "(null)", "")
    if int(_number(said, "Restarts")) > restart:
        # Requeued by Slurm itself: a lost node or a preemption without a grace time.
        lost_node = "NODE_FAIL" in line or said.get("Reason", "") in ("NodeDown", "NodeFail")
        return Fate("node" if lost_node else "preemption", requeued=True)
    if said.get("JobState") == "RUNNING":
        ends = said.get("EndTime", "")
        return Fate("preemption" if preempted else "", ends=float(ends) if ends.isdigit() else None)
    if said.get("Reason") == "TimeLimit" or said.get("JobState") == "TIMEOUT":
        return Fate("timeout")
    if preempted:
        return Fate("preemption")
    return Fate(cancelled=said.get("JobState") in ("COMPLETING", "CANCELLED"))


def _number(said: Mapping[str, str], name: str) -> str:
    return said[name] if said.get(name, "").isdigit() else "0"
