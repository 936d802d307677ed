"""What Slurm is about to do with a job that was told to leave.

Takes one line of `scontrol -o show job`, hands on a Fate. Measured on 22.05: a preemption with a grace time
and the warning before a time limit leave the job RUNNING; a cancelled, preempted or timed-out job is
COMPLETING, and only Reason, PreemptTime and Restarts tell which of them it is; whether one that Slurm has
requeued lost a node or had to make room, only its nodes tell. The surprise: `scontrol requeue` revives even a
job that a person has cancelled, so it must be known first.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from stair.cluster.ledger import Cause
from stair.frozen import frozen
from stair.submit.patience import patiently
from stair.submit.seat import Seat

SECONDS = 30.0


@frozen
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
    leaving: bool = False
    """Its processes are being ended: they have only KillWait, mostly 30 s, to save themselves."""
    lost: tuple[str, ...] = ()
    """Nodes of the job that Slurm has given up."""
    ends: float | None = None
    """When its time limit ends a running job, in seconds since 1970."""


def ask_fate(seat: Seat) -> Fate:
    """Asks slurmctld once about this job, and about its nodes where they matter."""
    said = _ask(["scontrol", "-o", "show", "job", seat.job])
    if said is None or not said.stdout.strip():
        forgotten = said is not None and "Invalid job id" in said.stderr
        return Fate(known=forgotten)  # then nothing is to be expected of Slurm any more
    lines = said.stdout.splitlines()
    mine = [line for line in lines if re.match(rf"JobId={seat.raw}\b", line)] or lines
    fate = read_fate(mine[0], seat.restart)
    if fate.requeued:
        nodes = _ask(["sinfo", "-h", "-N", "-n", ",".join(seat.nodes), "-o", "%N %T"])
        lost = lost_nodes(nodes.stdout) if nodes else ()
        return replace(fate, cause="node", lost=lost) if lost else fate
    return fate


def _ask(words: Sequence[str]) -> subprocess.CompletedProcess[str] | None:
    environment = {**os.environ, "SLURM_TIME_FORMAT": "%s"}
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return None


def await_fate(seat: Seat, give_up: Callable[[], bool]) -> Fate:
    """Asks until slurmctld answers, or `give_up` says to stop. Without an answer nobody may have the job
    requeued: a person may have cancelled it."""
    return patiently(lambda: ask_fate(seat), lambda fate: fate.known, give_up=give_up)


def read_fate(line: str, restart: int) -> Fate:
    """The fate that one job's line tells; `restart` is how often this attempt was requeued before."""
    said = dict(re.findall(r"(\w+)=(\S*)", line))
    preempted = said.get("PreemptTime", "None") not in ("None", "Unknown", "(null)", "")
    if int(_number(said, "Restarts")) > restart:
        return Fate("preemption", requeued=True)  # without a grace time, or by an administrator
    if said.get("JobState") == "RUNNING":
        ends = said.get("EndTime", "")
        return Fate("preemption" if preempted else "", ends=float(ends) if ends.isdigit() else None)
    if said.get("Reason") == "TimeLimit" or said.get("JobState") == "TIMEOUT":
        return Fate("timeout", leaving=True)
    if preempted:
        return Fate("preemption", leaving=True)
    return Fate(cancelled=said.get("JobState") in ("COMPLETING", "CANCELLED"), leaving=True)


def lost_nodes(lines: str) -> tuple[str, ...]:
    """Those of `NODE STATE` lines (sinfo -o "%N %T") that are down or do not answer (`*`)."""
    found = [line.split() for line in lines.splitlines() if len(line.split()) == 2]
    bad = [node for node, state in found if state.endswith("*") or state.startswith(("down", "fail", "unk"))]
    return tuple(dict.fromkeys(bad))


def _number(said: Mapping[str, str], name: str) -> str:
    return said[name] if said.get(name, "").isdigit() else "0"
