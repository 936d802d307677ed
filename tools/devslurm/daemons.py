"""The five kinds of daemons: started inside their place, awaited, looked at.

Takes a Cluster whose network and files exist. Each daemon is known by its pid file and its process name,
so that a stale file or a reused process id is nobody. Whether a daemon is ready is asked of the daemon.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from stair.errors import StairError
from tools.devslurm import texts
from tools.devslurm.network import enter
from tools.devslurm.shape import HEAD, Cluster
from tools.devslurm.system import read_pid, run, tail, wait_until


@dataclass(frozen=True)
class Daemon:
    """One daemon: what it is called here, its process, its place, its files."""

    name: str
    """munged, mariadbd, slurmdbd, slurmctld, or the name of a node for its slurmd."""
    process: str
    place: str
    pid_file: Path
    log: Path

    @property
    def pid(self) -> int | None:
        """The living process; None when there is none."""
        return read_pid(self.pid_file, self.process)


def daemons(cluster: Cluster) -> list[Daemon]:
    """All daemons of a cluster in the order in which they start."""
    names = ["munged"]
    names += ["mariadbd", "slurmdbd"] if cluster.shape.accounting else []
    head = [
        Daemon(name, name, HEAD, cluster.pids / f"{name}.pid", cluster.logs / f"{name}.log")
        for name in [*names, "slurmctld"]
    ]
    nodes = [
        Daemon(
            node.name,
            "slurmd",
            node.name,
            cluster.pids / f"slurmd.{node.name}.pid",
            cluster.logs / f"slurmd.{node.name}.log",
        )
        for node in cluster.nodes
    ]
    return [*head, *nodes]


def environment(cluster: Cluster) -> dict[str, str]:
    """The surroundings of commands: ours, without anything of another cluster or of a job we may be in."""
    foreign = ("SLURM", "SBATCH_", "SALLOC_", "SRUN_", "SQUEUE_", "SINFO_", "SACCT_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    path = clean.get("PATH", "/usr/bin:/bin")
    if "/usr/sbin" not in path.split(":"):
        path = f"{path}:/usr/sbin:/sbin"
    return {**clean, "PATH": path, "SLURM_CONF": str(cluster.slurm_conf)}


def bare_environment(cluster: Cluster) -> dict[str, str]:
    """The surroundings of daemons, which outlive the shell: none of its variables, that may be secrets."""
    ours = environment(cluster)
    kept = ("PATH", "HOME", "LANG", "TZ", "SLURM_CONF")
    return {name: ours[name] for name in kept if name in ours}


def start(cluster: Cluster, daemon: Daemon) -> None:
    """Starts one daemon, unless it lives, and returns when it has written its pid file."""
    if daemon.pid:
        return
    daemon.pid_file.unlink(missing_ok=True)
    out = daemon.log.with_suffix(".out")
    with out.open("a") as stream:
        # --fork: whoever starts a daemon that stays in the foreground must not be its parent.
        subprocess.run(
            ["setsid", "--fork", *enter(cluster, daemon.place, _argv(cluster, daemon))],
            env=bare_environment(cluster),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            check=True,
        )
    if not wait_until(lambda: daemon.pid, 60.0):
        raise _did_not(daemon, "start")


def _argv(cluster: Cluster, daemon: Daemon) -> list[str]:
    conf = str(cluster.slurm_conf)
    if daemon.process == "slurmd":
        return ["slurmd", "-N", daemon.name, "-f", conf]
    if daemon.process == "slurmctld":
        return ["slurmctld", "-f", conf]
    if daemon.process == "slurmdbd":
        return ["slurmdbd"]  # finds slurmdbd.conf beside SLURM_CONF
    if daemon.process == "munged":
        argv = ["munged", "--force", f"--pid-file={daemon.pid_file}", f"--log-file={daemon.log}"]
        argv += [f"--socket={cluster.munge_socket}", f"--key-file={cluster.munge}/munge.key"]
        return [*argv, f"--seed-file={cluster.munge}/seed"]
    argv = ["mariadbd", "--no-defaults", "--user=root", f"--datadir={cluster.database}", "--skip-log-bin"]
    argv += [
        f"--socket={cluster.database_socket}",
        f"--pid-file={daemon.pid_file}",
        f"--log-error={daemon.log}",
    ]
    argv += [f"--port={texts.DATABASE_PORT}", "--bind-address=127.0.0.1"]
    # What slurmdbd wants, small, and without waiting for the disk: a power cut may cost the history.
    argv += ["--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900"]
    return [*argv, "--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=32M"]


def make_database(cluster: Cluster) -> None:
    """Makes MariaDB's data folder where there is none; one half made by a killed `up` is begun again."""
    if cluster.database.exists():
        return
    partial = cluster.root / "mysql.partial"
    shutil.rmtree(partial, ignore_errors=True)
    argv = ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={partial}"]
    argv += ["--auth-root-authentication-method=socket", "--skip-test-db"]
    # From inside, so that one left over from a killed `up` is found and ended with everything else.
    said = run(enter(cluster, HEAD, argv), timeout_s=180)
    (cluster.logs / "mariadb-install-db.log").write_text(said)
    partial.rename(cluster.database)


def await_ready(cluster: Cluster, daemon: Daemon, timeout_s: float = 180.0) -> None:
    """Returns when a daemon of the head answers; StairError with the end of its log when it does not."""
    questions = {
        "munged": ["munge", "--no-input", f"--socket={cluster.munge_socket}"],
        "mariadbd": ["mariadb", "--no-defaults", "-S", str(cluster.database_socket), "-e", "select 1"],
        "slurmdbd": ["sacctmgr", "--noheader", "show", "cluster"],
        "slurmctld": ["scontrol", "show", "partition", "train"],
    }

    def answers() -> bool:
        argv = questions[daemon.process]
        try:
            done = subprocess.run(
                argv, env=environment(cluster), capture_output=True, stdin=subprocess.DEVNULL, timeout=60
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    if not wait_until(lambda: answers() or not daemon.pid, timeout_s, 0.1) or not daemon.pid:
        raise _did_not(daemon, "answer")


def _did_not(daemon: Daemon, what: str) -> StairError:
    out = daemon.log.with_suffix(".out")  # what it, or the way to its place, said before it had a log
    newest = max((file for file in (daemon.log, out) if file.exists()), key=lambda file: file.stat().st_mtime)
    return StairError(
        f"{daemon.process} of {daemon.place} did not {what}", hint=f"read {newest}: {tail(newest)}"
    )
