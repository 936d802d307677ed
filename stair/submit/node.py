"""`python -m stair.submit.node PLAN.json STEP [--member K]`: what srun starts once on every node of a step.

Takes the plan, runs this node's part of the step, hands on how it ended as a file in the run folder that the
supervisor reads. Whatever the node lacks is looked for first and is an Ending of its own: nothing falls back
to another network or to the CPU. The surprise: signals come from everywhere, often three times; all mean the
same, and the step is given the time that Slurm gives it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from stair.cluster.container import runs_inside, runtime_environment
from stair.console import run_command, say
from stair.errors import FAILED, FINE, StairError, UsageError
from stair.rundir import RunDir, make_folder, write_json
from stair.submit.claim import Watch
from stair.submit.health import Place, look_again, run_watched
from stair.submit.layout import side_variables
from stair.submit.plan import Plan, Step, read_plan
from stair.submit.seat import Seat, read_seat
from stair.submit.secrets import secrets_for
from stair.submit.stepping import Stage, Stop, log_file, run_step
from stair.submit.verdict import LOST_PEER, Ending

__all__ = ["ending_file", "log_file", "read_ending"]

PORTS = range(15_000, 31_000)
"""Below the ports that Linux gives to clients (ip_local_port_range: 32768 and up), above the well-known."""
LINGER_S = 5.0
"""How long a node that only lost another one stays: srun ends all as soon as one has failed, and the one with
the cause shall have said it by then."""
FIRST = "first.json"
"""What stair.train.launch leaves in STAIR_LOGS about the process that failed first."""


def ending_file(run: RunDir, step: Step, job: str, restart: int, node: int) -> Path:
    """Where the `node`-th node of a step, or of one member of it, says how the attempt ended for it."""
    name = step.name if step.member is None else f"{step.name}-{step.member:05d}"
    return run.path / "attempts" / name / f"{job}.{restart}" / f"node-{node}.json"


def read_ending(file: Path) -> Ending | None:
    """What a node said, or None when it left no word."""
    try:
        tree = json.loads(file.read_text())
        return Ending(**{**tree, "findings": tuple(tree.get("findings", ()))})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def main(words: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Runs this node's part of a step. Returns 0 when it is done or has saved itself, else 1."""
    stop = Stop(patient=True)
    parser = argparse.ArgumentParser(prog="stair.submit.node")
    parser.add_argument("plan", type=Path)
    parser.add_argument("step")
    parser.add_argument("--member", type=int)
    asked = parser.parse_args(words)
    plan, seat = read_plan(asked.plan), read_seat(environment)
    step = plan.step(asked.step).of_member(asked.member)
    node = int(environment.get("SLURM_NODEID", "0"))
    run = RunDir(Path(plan.run))
    file = ending_file(run, step, seat.job, seat.restart, node)
    make_folder(file.parent)
    ending = replace(run_node(plan, step, seat, node, environment, stop), node=seat.nodes[node])
    write_json(file, asdict(ending))
    say(f"{ending.node}: {ending.verdict}" + (f", {ending.why}" if ending.why else ""))
    if ending.code == LOST_PEER:
        time.sleep(LINGER_S)
    stop.no_more()  # one who has saved itself must not look killed, or srun kills those who still save
    return FINE if ending.verdict in ("done", "checkpointed") else FAILED


def run_node(
    plan: Plan, step: Step, seat: Seat, node: int, environment: Mapping[str, str], stop: Stop
) -> Ending:
    """This node's part of a step, from its preconditions to its ending; raises nothing expected."""
    name = seat.nodes[node]
    run = RunDir(Path(plan.run))
    log, logs = log_file(run, step, f"node{node}" if node else ""), rank_logs(run, step, seat, node)
    place = Place(run, seat.job, seat.restart, name, log, environment)
    trouble = missing_gpus(step, name) or missing_network(step, name)
    if trouble:
        return look_again(step, place, Ending("retryable", "node", trouble, time=time.time()))
    try:
        secrets = secrets_for(plan.keep)
    except StairError as error:
        return Ending("fatal", why=f"{name}: {error.what}", hint=error.hint, time=time.time())
    added = step.environment | secrets | rendezvous(step, seat, node) | {"STAIR_LOGS": str(logs)}

    def variables(argv: Sequence[str]) -> dict[str, str]:
        mine = added | side_variables(step, argv, environment)
        if runs_inside(argv):
            return runtime_environment(environment, plan.keep, mine)
        return {**environment, **mine}

    stage = Stage(
        cwd=plan.cwd,
        log=log,
        server_log=log_file(run, step, "server"),
        environment=variables,
        grace_s=math.inf,
        replaced=Watch(run, step, seat),
    )
    try:
        make_folder(Path(step.folder))
        ending = run_watched(
            step, place, stop, lambda: with_first(run_step(step, stage, stop, with_server=node == 0), logs)
        )
    except StairError as error:
        # A missing runtime or file system is this node's fault; a missing program is missing everywhere.
        why = f"{name}: {error.what}"
        if runs_inside(step.argv) and not isinstance(error, UsageError):
            return Ending("retryable", "node", why, error.hint, time=time.time())
        return Ending("fatal", "", why, error.hint, time=time.time())
    except OSError as error:
        why = f"{name}: {error.filename}: {error.strerror}"
        return Ending("fatal", why=why, hint="is the disk full?", time=time.time())
    return ending


def with_first(ending: Ending, logs: Path) -> Ending:
    """The ending in the words of the process that failed first, if the launcher named one: with its log,
    its time, and its code, by which one that was killed differs from those who lost it."""
    try:
        first = json.loads((logs / FIRST).read_text())
        said = {name: first[name] for name in ("what", "hint", "log", "time", "code")}
    except (OSError, ValueError, KeyError, TypeError):
        return ending
    if ending.verdict in ("done", "checkpointed"):
        return ending
    said["log"] = said["log"] or ending.log
    return replace(ending, why=said.pop("what"), **said)


def rank_logs(run: RunDir, step: Step, seat: Seat, node: int) -> Path:
    """The folder for the logs of the single processes of this attempt on this node."""
    return log_file(run, step, "ranks").with_suffix("") / f"{seat.job}.{seat.restart}-node{node}"


def rendezvous(step: Step, seat: Seat, node: int) -> dict[str, str]:
    """Where the launchers of all nodes meet: on the first one, at a port that no other job there derives
    and that a restart does not find still taken."""
    if step.nodes == 1:
        return {}
    port = PORTS[(int(seat.raw) * 16 + seat.restart) % len(PORTS)]
    return {
        "STAIR_NODES": str(step.nodes),
        "STAIR_NODE_RANK": str(node),
        "STAIR_RENDEZVOUS": f"{seat.nodes[0]}:{port}",
        "STAIR_ATTEMPT": f"{seat.job}.{seat.restart}",
    }


def missing_gpus(step: Step, node: str, root: Path = Path("/")) -> str:
    """What keeps a step from the GPUs it asked for, or nothing. `--nv` would be silent about it."""
    if not step.gpus:
        return ""
    asked = f"{node}: {step.gpus} GPU{'s were' if step.gpus > 1 else ' was'} asked for and "
    if not (root / "proc/driver/nvidia/version").exists():
        return asked + "no NVIDIA driver is loaded"
    if not (root / "dev/nvidiactl").exists():
        return asked + "/dev/nvidiactl is missing, though a driver is loaded"
    found = len(list((root / "proc/driver/nvidia/gpus").glob("*")))
    return "" if found >= step.gpus else asked + f"the driver shows {found}"


def missing_network(step: Step, node: str, root: Path = Path("/")) -> str:
    """The first network that a step names and this node lacks, with those it has; or nothing."""
    # Not from /sys/class/net: in a network namespace of its own a node may see the host's there.
    interfaces = [name for _, name in socket.if_nameindex()]
    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        for name in _names(step.environment.get(variable, "")):
            if name not in interfaces:
                return f"{node}: no network interface {name} ({variable}); it has {', '.join(interfaces)}"
    adapters = sorted(path.name for path in (root / "sys/class/infiniband").glob("*"))
    for name in _names(step.environment.get("NCCL_IB_HCA", "")):
        if not any(adapter.startswith(name) for adapter in adapters):
            has = ", ".join(adapters) or "none"
            return f"{node}: no InfiniBand adapter {name} (NCCL_IB_HCA); it has {has}"
    return ""


def _names(value: str) -> list[str]:
    """The names that must be there: without NCCL's `=` and `:port`; what `^` excludes need not be."""
    if value.startswith("^"):
        return []
    return [part.split(":")[0] for part in value.removeprefix("=").split(",") if part]


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
