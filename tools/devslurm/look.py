"""How a cluster stands: daemons, nodes and jobs as one value; and a job let go that Slurm holds back.

Asks squeue and sinfo once each. The surprise: a job that was requeued waits two minutes for a reason: each
node refuses its job's credentials that are not at least a second younger than the end of the last run.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stair.errors import StairError
from tools.devslurm import apptainer, network
from tools.devslurm.daemons import daemons, environment
from tools.devslurm.shape import Cluster
from tools.devslurm.system import run, wait_until


@dataclass(frozen=True)
class NodeState:
    """One node as Slurm sees it, and its cable as we do."""

    name: str
    state: str
    """Slurm's word, such as idle, mixed, down*; empty when the controller does not answer."""
    cpus: int
    memory_mb: int
    gres: str
    features: str
    plugged: bool
    reason: str


@dataclass(frozen=True)
class JobState:
    """One job that is not over, one member of an array, or those of an array that still wait."""

    job: str
    name: str
    state: str
    reason: str
    """Why it waits; for a job that runs, its nodes."""
    partition: str
    nodes: int


@dataclass(frozen=True)
class Status:
    """All that `status` shows."""

    root: str
    slot: int
    slurm_conf: str
    shape: dict[str, Any]
    daemons: dict[str, int | None]
    """Process id by name; None: not there."""
    nodes: tuple[NodeState, ...]
    jobs: tuple[JobState, ...]

    @property
    def well(self) -> bool:
        """Whether every daemon lives and every node can take jobs."""
        ready = all(
            node.plugged and node.state.rstrip("-+") in ("idle", "mixed", "allocated") for node in self.nodes
        )
        return ready and all(self.daemons.values())


def status(cluster: Cluster) -> Status:
    """Looks once; a cluster that is down gives a Status too, with nothing alive in it."""
    alive = {daemon.name: daemon.pid for daemon in daemons(cluster)}
    answers = alive["slurmctld"] is not None
    sinfo = _lines(cluster, ["sinfo", "-h", "-N", "-p", "train", "-o", "%N|%T|%E"]) if answers else []
    squeue = ["squeue", "-h", "-o", "%i|%j|%T|%R|%P|%D"]
    states = {line[0]: line for line in sinfo if len(line) == 3}
    return Status(
        root=str(cluster.root),
        slot=cluster.slot,
        slurm_conf=str(cluster.slurm_conf),
        shape=asdict(cluster.shape),
        daemons=alive,
        nodes=tuple(
            NodeState(
                name=node.name,
                state=states.get(node.name, ["", "", ""])[1],
                cpus=node.cpus,
                memory_mb=node.memory_mb,
                gres=f"gpu:{node.gpu}:{node.gpus}" if node.gpus else "",
                features=f"{node.gpu},ib",
                plugged=network.plugged(cluster, node.name),
                reason=states.get(node.name, ["", "", "none"])[2].replace("none", ""),
            )
            for node in cluster.nodes
        ),
        jobs=tuple(
            JobState(
                job=line[0],
                name="|".join(line[1:-4]),
                state=line[-4],
                reason=line[-3],
                partition=line[-2],
                nodes=int(line[-1]),
            )
            for line in (_lines(cluster, squeue) if answers else [])
            if len(line) >= 6
        ),
    )


def _lines(cluster: Cluster, argv: list[str]) -> list[list[str]]:
    said = run(argv, check=False, env=environment(cluster), timeout_s=30)
    return [line.split("|") for line in said.splitlines()]


def ask_job(cluster: Cluster, job: str) -> tuple[str, str]:
    """State and reason of a job, or of one member of an array, such as ("PENDING", "BeginTime").

    Raises StairError when Slurm knows no such job any more.
    """
    said = run(["scontrol", "-o", "show", "job", job], check=False, env=environment(cluster))
    fields = dict(word.split("=", 1) for word in said.split() if "=" in word)
    if "JobState" not in fields:
        raise StairError(f"Slurm knows no job {job}: {said.strip()}", hint="squeue --states=all")
    return fields["JobState"], fields.get("Reason", "")


def ask_node(cluster: Cluster, node: str) -> str:
    """Slurm's word for a node, such as idle, mixed, or down*; empty when the controller does not answer."""
    lines = _lines(cluster, ["sinfo", "-h", "-N", "-p", "train", "-n", node, "-o", "%N|%T"])
    return next((line[1] for line in lines if line[0] == node and len(line) == 2), "")


def kick(cluster: Cluster, job: str, timeout_s: float = 30.0) -> None:
    """Lets a requeued job start in two seconds. Waits until it has left its nodes and is held back.

    Raises StairError when it is not held for BeginTime within `timeout_s`.
    """
    seen = ("", "")

    def held() -> bool:
        nonlocal seen
        seen = ask_job(cluster, job)
        return seen == ("PENDING", "BeginTime")

    if not wait_until(held, timeout_s, 0.2):
        raise StairError(
            f"job {job} is {seen[0]} ({seen[1]}), not held for BeginTime",
            hint="only a job that was requeued can be kicked",
        )
    # `now` may fall into the second of the kill: "already killed, do not launch", and the job has FAILED.
    run(["scontrol", "update", f"JobId={job}", "StartTime=now+2"], env=environment(cluster))


def exports(cluster: Cluster) -> list[str]:
    """The two lines that let a shell talk to the cluster."""
    program = apptainer.found()
    path = f"{shlex.quote(str(program.parent))}:" if program else ""
    return [f"export SLURM_CONF={shlex.quote(str(cluster.slurm_conf))}", f"export PATH={path}$PATH"]


def as_json(status: Status) -> str:
    """One JSON object."""
    return json.dumps({"well": status.well, **asdict(status)}, indent=2)


def as_text(status: Status) -> str:
    """Three small tables, in plain text: this tool runs with nothing installed."""
    here = [(name, pid or "not running") for name, pid in status.daemons.items()]
    nodes = [
        (
            n.name,
            n.state or "?",
            n.cpus,
            n.memory_mb,
            n.gres,
            n.features,
            "in" if n.plugged else "pulled",
            n.reason,
        )
        for n in status.nodes
    ]
    jobs = [(j.job, j.name, j.state, j.partition, j.nodes, j.reason) for j in status.jobs]
    parts = [
        f"{status.root} (slot {status.slot})",
        _table(("daemon", "process"), here),
        _table(("node", "state", "cpus", "MB", "gres", "features", "cable", "reason"), nodes),
        _table(("job", "name", "state", "partition", "nodes", "where or why"), jobs) if jobs else "no jobs",
    ]
    return "\n\n".join(parts)


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    cells = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    return "\n".join(line.rstrip() for line in lines)
