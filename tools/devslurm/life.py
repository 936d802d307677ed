"""A cluster comes up and goes down: the stages in their order, each with its seconds.

Takes a root folder and a Shape, hands on a running Cluster. Everything may be run again at any time: what
lives is left alone, what a crash left behind is cleared away. `down` is like a power cut at the nodes: a job
that runs is ended with them, and Slurm repeats it after the next `up` as after the loss of a node.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from stair.errors import StairError, UsageError, unknown
from tools.devslurm import network, texts
from tools.devslurm.daemons import Daemon, await_ready, daemons, environment, make_database, start
from tools.devslurm.furnish import announce, fill_accounts, write_files
from tools.devslurm.record import check_root, read_cluster, write_cluster
from tools.devslurm.shape import Cluster, Shape
from tools.devslurm.system import CannotHere, end, missing_commands, run, wait_until

Tell = Callable[[str, float], None]
"""Is told each stage that is done, and its seconds."""


ENDING = ("slurmctld", "slurmd", "slurmdbd", "mariadbd", "munged")
"""The controller first: what then ends on the nodes is not its business until the next `up`."""


END_S = 60.0
"""How long a daemon may take to end: slurmctld waits half a minute for questions it has not answered yet, and
only then saves its state."""
CLEAR_S = 120.0


def require_root() -> None:
    """Raises CannotHere for anybody else."""
    if os.geteuid() != 0:
        raise CannotHere("a development cluster needs root (namespaces, fake GPUs)", hint="as root, or sudo")


def require(accounting: bool) -> None:
    """Raises CannotHere, in one sentence, unless this machine can run a cluster."""
    require_root()
    needed = ["slurmctld", "slurmd", "srun", "munged", "ip", "nsenter", "unshare", "setsid"]
    needed += ["slurmdbd", "mariadbd", "mariadb-install-db"] if accounting else []
    missing = missing_commands(needed)
    if missing:
        raise CannotHere(f"not installed: {', '.join(missing)}", hint="tools/devcluster install")


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """One `up` or `down` at a time for each root folder; a second one waits."""
    network.CLAIMS.mkdir(exist_ok=True)
    lock = network.CLAIMS / f"{hashlib.sha256(str(root).encode()).hexdigest()[:16]}.lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def up(root: Path, shape: Shape, tell: Tell = lambda stage, seconds: None) -> Cluster:
    """Brings the cluster up and returns when every node that has its cable is ready.

    Raises CannotHere where the machine lacks something, UsageError for a shape that cannot be or differs
    from that of the cluster running there, StairError when a daemon does not come up (with its log).
    """
    require(shape.accounting)
    check_root(root)
    shape.check()
    stage = _Stages(tell)
    sweep()
    with locked(root):
        cluster = _settle(root, shape)
        write_files(cluster)
        stage.done("files")
        network.build(cluster)
        stage.done("namespaces")
        head = {daemon.name: daemon for daemon in daemons(cluster) if daemon.process != "slurmd"}
        _begin(cluster, head["munged"])
        stage.done("munged")
        if shape.accounting:
            make_database(cluster)
            stage.done("data base made")
            _begin(cluster, head["mariadbd"])
            sql = ["mariadb", "--no-defaults", "-S", str(cluster.database_socket)]
            run(sql, input=texts.database_sql())
            stage.done("mariadbd")
            _begin(cluster, head["slurmdbd"])
            announce(cluster)
            stage.done("slurmdbd")
        start(cluster, head["slurmctld"])
        for daemon in daemons(cluster):
            if daemon.process == "slurmd":
                start(cluster, daemon)
        await_ready(cluster, head["slurmctld"])
        stage.done("slurmctld, slurmd")
        if shape.accounting:
            fill_accounts(cluster)
            stage.done("accounts and QOS")
        await_nodes(cluster)
        stage.done("nodes ready")
    return cluster


def sweep() -> None:
    """Ends clusters whose root folder somebody removed under them."""
    for slot, root in network.claims():
        if not root.exists():
            with locked(root):  # and not one that is being ended, or brought up again, at this moment
                if (slot, root) in network.claims() and not root.exists():
                    lost = Cluster(root, slot)
                    _clear(lost)
                    network.release_slot(lost)


def _settle(root: Path, shape: Shape) -> Cluster:
    """Slot and record of the cluster; clears away what a crash or another shape left."""
    root.mkdir(parents=True, exist_ok=True)
    try:
        old = read_cluster(root)
    except StairError:
        old = None
    if old and old.shape != shape and _runs(old):
        differs = [f.name for f in fields(Shape) if getattr(old.shape, f.name) != getattr(shape, f.name)]
        raise UsageError(
            f"the cluster runs with another {', '.join(differs)}", hint="tools/devcluster down first"
        )
    slot = network.claim_slot(root, old.slot if old else None)
    cluster = Cluster(root, slot, shape)
    write_cluster(cluster)
    if old and old != cluster and not network.is_anothers(old):
        _clear(old)
    if not _runs(cluster):
        _clear(cluster)  # whatever is left is of a crash, or of an `up` that was killed
    return cluster


def _runs(cluster: Cluster) -> bool:
    """Whether there are jobs to be careful with: a controller or a node lives, in a network that is whole."""
    alive = any(daemon.pid for daemon in daemons(cluster) if daemon.process in ("slurmctld", "slurmd"))
    return alive and not network.strays(cluster)


def _clear(cluster: Cluster) -> int:
    """Ends every process of a cluster and removes its network; returns how many processes there were."""
    ended: set[int] = set()

    def all_gone() -> bool:
        left = [process.pid for process in network.members(cluster)]
        ended.update(left)
        end(left, patience_s=2.0)
        return not left

    wait_until(all_gone, CLEAR_S)  # whoever was ended may have started somebody just before
    network.remove(cluster)
    for file in cluster.pids.glob("*.pid"):
        file.unlink(missing_ok=True)
    return len(ended)


def _begin(cluster: Cluster, daemon: Daemon) -> None:
    start(cluster, daemon)
    await_ready(cluster, daemon)


def await_nodes(cluster: Cluster, timeout_s: float = 180.0) -> None:
    """Returns when every node whose cable is in can take jobs; those that a person drained do not count."""
    wanted = {node.name for node in cluster.nodes if network.plugged(cluster, node.name)}

    def ready() -> bool:
        lines = run(["sinfo", "-h", "-N", "-o", "%N %T"], check=False, env=environment(cluster)).splitlines()
        states = dict(line.split()[:2] for line in lines if len(line.split()) == 2)
        good = ("idle", "mixed", "allocated", "completing", "drain", "reserved", "maint", "planned")
        return all(states.get(n, "").startswith(good) and not states[n].endswith("*") for n in wanted)

    if not wait_until(ready, timeout_s, 0.1):
        said = run(["sinfo", "-h", "-N", "-R"], check=False, env=environment(cluster)).strip()
        raise StairError(f"not all nodes became ready: {said}", hint=f"logs are in {cluster.logs}")


def down(root: Path, tell: Tell = lambda stage, seconds: None, *, purge: bool = False) -> int:
    """Ends everything of the cluster, removes its network and gives its slot back; returns the number of
    processes that had to be ended besides the daemons. State, data base and logs stay, unless `purge`."""
    stage = _Stages(tell)
    with locked(root):
        try:
            cluster = read_cluster(root)
        except StairError:
            if not purge or not (root / "cluster.json").exists():
                raise
            cluster = Cluster(root, network.claim_slot(root))
        for process in ENDING:
            pids = [daemon.pid for daemon in daemons(cluster) if daemon.process == process]
            end([pid for pid in pids if pid], patience_s=END_S)
        stage.done("daemons")
        ended = 0 if network.is_anothers(cluster) else _clear(cluster)
        network.release_slot(cluster)
        stage.done("jobs and namespaces")
        if purge:
            shutil.rmtree(root)
            stage.done("state")
    return ended


def restart(cluster: Cluster, name: str) -> None:
    """Ends one daemon, if it lives, starts it again and returns when it answers; jobs go on meanwhile."""
    daemon = _known_daemon(cluster, name)
    stop(cluster, name)
    start(cluster, daemon)
    if daemon.process != "slurmd":
        await_ready(cluster, daemon)


def stop(cluster: Cluster, name: str) -> None:
    """Ends one daemon, if it lives; `restart` brings it back."""
    pid = _known_daemon(cluster, name).pid
    end([pid] if pid else [], patience_s=END_S)


def _known_daemon(cluster: Cluster, name: str) -> Daemon:
    known = {daemon.name: daemon for daemon in daemons(cluster)}
    if name not in known:
        raise unknown("daemon", name, known)
    return known[name]


def known_place(cluster: Cluster, name: str) -> str:
    """The name itself if it is a node's or the head's, else UsageError."""
    if name not in cluster.places:
        raise unknown("node", name, cluster.places)
    return name


class _Stages:
    """Tells each stage with the seconds since the one before."""

    def __init__(self, tell: Tell) -> None:
        self.tell, self.last = tell, time.monotonic()

    def done(self, name: str) -> None:
        now = time.monotonic()
        self.tell(name, now - self.last)
        self.last = now
