"""A development cluster made ready for drills: data, profiles, and the hands that disturb it.

Takes a running Cluster and a folder that all its nodes see, hands on a Site. Everything is done the way a
person would: stair-submit, scontrol, scancel, kill, a pulled cable. The surprise: nodes are one machine, so
a process belongs to the node whose network namespace it is in.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from stair.console import say
from stair.errors import StairError
from stair.rundir import write_whole
from tools.devslurm import apptainer, life, network
from tools.devslurm.daemons import daemons, environment
from tools.devslurm.look import ask_node
from tools.devslurm.shape import Cluster
from tools.devslurm.system import processes, run, wait_until

CHAIN = Path(__file__).with_name("chain.yaml")
RANK = "stair.train.rank"
WARN_S = 90
"""Slurm looks every 30 s whom to warn: a job with two minutes left is warned with a minute to spare."""
PATIENCE_S = 900.0
"""How long anything may take: the machine may be busy with other things."""


@dataclass(frozen=True)
class Site:
    """Where drills happen."""

    cluster: Cluster
    folder: Path
    """Data, profiles and runs; the working folder of every job."""
    image: Path
    small: Path | None = None
    """A folder on a disk of a few megabytes that the nodes see; None: who needs one is left out."""

    @property
    def accounting(self) -> bool:
        return self.cluster.shape.accounting

    def prepare(self) -> Site:
        """Collects the data set, once, and writes the recipes."""
        import yaml

        if not self.image.exists():
            raise StairError(f"no image {self.image}", hint="containers/build train --variant cpu")
        self.folder.mkdir(parents=True, exist_ok=True)
        tree = yaml.safe_load(CHAIN.read_text())
        for name, stages in [("one", ["stage1"]), ("two", ["stage1", "stage2"])]:
            steps = {stage: tree["steps"][stage] for stage in stages}
            write_whole(self.folder / f"{name}.yaml", yaml.safe_dump({**tree, "steps": steps}))
        if not (self.data / "tabletop").exists():
            words = ["--episodes", "12", "--image_size", "16", "--workers", "0", "--root", str(self.data)]
            self.run(program("python"), "-m", "stair.collect", *words)
        return self

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def environment(self) -> dict[str, str]:
        """For commands on the submitting machine."""
        variables = environment(self.cluster)
        found = apptainer.found()
        if found:
            variables["PATH"] = f"{found.parent}:{variables['PATH']}"
        return variables

    def run(self, *argv: str, check: bool = True, timeout_s: float = 180.0) -> str:
        """Runs a command on the submitting machine; its output, stderr included."""
        return run(argv, check=check, timeout_s=timeout_s, env=self.environment, cwd=self.folder)

    def profile(self, name: str, image: Path | None = None, **slurm: object) -> Path:
        """Writes a profile of the cluster whose `slurm` part has some values of its own."""
        import yaml

        place = str(image or self.image)
        tree = {
            "about": "drills",
            "executor": "slurm",
            "gpus_per_node": 0,
            "slurm_conf": str(self.cluster.slurm_conf),
            "slurm": {"partition": "train", "mem_gb": 1.9, "warn_s": WARN_S, **slurm},
            "network": {"interface": "eth0"},
            "container": {"train_image": place},
        }
        path = self.folder / f"{name}.profile.yaml"
        write_whole(path, yaml.safe_dump(tree))
        return path

    def job_field(self, job: str, name: str) -> str:
        """One field of `scontrol show job`; empty when Slurm does not know the job or the field."""
        said = self.run("scontrol", "-o", "show", "job", job, check=False)
        return next((w.partition("=")[2] for w in said.split() if w.startswith(f"{name}=")), "")

    def jobs(self, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """State and reason of jobs that Slurm still knows, ended ones included; empty when it is silent."""
        if not ids:
            return {}
        words = ["squeue", "--noheader", "--states=all", f"--jobs={','.join(ids)}", "--format=%i|%T|%r"]
        lines = [line.split("|") for line in self.run(*words, check=False).splitlines()]
        return {line[0]: (line[1], line[2]) for line in lines if len(line) == 3}

    def ranks(self, node: str = "") -> list[int]:
        """The training processes on a node, or on all of them."""
        places = [node] if node else [node.name for node in self.cluster.nodes]
        networks = {network.namespace_of(self.cluster, place) for place in places}
        return [p.pid for p in processes() if RANK in p.argv and p.network in networks]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps the training where it is, so that what comes slowly still comes in its midst."""
        stopped = self.ranks()
        signal_all(stopped, signal.SIGSTOP)
        try:
            yield
        finally:
            signal_all(set(self.ranks()) & set(stopped), signal.SIGCONT)

    @contextmanager
    def grace(self, mode: str, seconds: int) -> Iterator[None]:
        """Gives the jobs of low priority another time to leave; `mode` is requeue or cancel."""
        try:
            self._set_grace(mode, seconds)
            yield
        finally:
            self._set_grace(mode, self.cluster.shape.grace_s)

    def _set_grace(self, mode: str, seconds: int) -> None:
        if self.accounting:
            name = "low" if mode == "requeue" else "low-cancel"
            words = ["sacctmgr", "--immediate", "modify", "qos", name, "set", f"gracetime={seconds}"]
        else:
            words = ["scontrol", "update", f"PartitionName=low-{mode}", f"GraceTime={seconds}"]
        said = self.run(*words, check=False)
        if "error" in said.lower():
            raise StairError(f"grace time not set: {said.strip()}", hint=" ".join(words))

    def low_priority(self, mode: str) -> dict[str, str]:
        """What a profile's `slurm` says so that its jobs make room; `mode` is requeue or cancel."""
        if self.accounting:
            return {"qos": "low" if mode == "requeue" else "low-cancel"}
        return {"partition": f"low-{mode}"}

    def make_room(self) -> str:
        """Sends a short job of high priority that wants every node; its id."""
        words = [f"--nodes={len(self.cluster.nodes)}", "--exclusive", "--time=1", "--output=/dev/null"]
        words += ["--qos=high"] if self.accounting else []
        said = self.run("sbatch", "--parsable", "--partition=train", *words, "--wrap", "true")
        return said.strip().splitlines()[-1]

    def cut(self, node: str) -> None:
        """Pulls the cable of a node."""
        network.set_cable(self.cluster, node, False)

    def mend(self, node: str) -> None:
        """Plugs it in again."""
        network.set_cable(self.cluster, node, True)

    def await_nodes(self) -> None:
        """Waits until every node takes jobs again."""

        def states() -> dict[str, str]:
            return {node.name: ask_node(self.cluster, node.name) for node in self.cluster.nodes}

        def ready() -> bool:
            return set(states().values()) == {"idle"}

        if not wait_until(ready, 10.0, 0.5):
            say(f"waiting for the nodes to be idle: {states()}")
            # A job that ends while slurmctld starts leaves its nodes mixed for a quarter of an hour (22.05).
            for node in [name for name, state in states().items() if state == "mixed"]:
                for state in ("DOWN", "RESUME"):
                    words = [f"NodeName={node}", f"State={state}", "Reason=mixed without a job"]
                    self.run("scontrol", "update", *words, check=False)
        if not wait_until(ready, PATIENCE_S, 0.5):
            raise StairError(f"nodes do not come back: {states()}", hint=f"see {self.cluster.logs}")

    def kill_controller(self) -> None:
        """SIGKILL for slurmctld: what it had not saved is lost."""
        pid = self._daemon("slurmctld")
        if pid:
            signal_all([pid], signal.SIGKILL)
        wait_until(lambda: self._daemon("slurmctld") is None, 20.0)

    def start_controller(self) -> None:
        """Starts slurmctld again and waits until it answers."""
        life.restart(self.cluster, "slurmctld")

    @contextmanager
    def without_image(self, node: str, image: Path) -> Iterator[None]:
        """Hides an image from one node, as if its file system were not mounted there."""
        enter = ["nsenter", f"--mount=/proc/{self._daemon(node)}/ns/mnt"]
        run([*enter, "mount", "--bind", "/dev/null", str(image)])
        try:
            yield
        finally:
            run([*enter, "umount", str(image)])

    def _daemon(self, name: str) -> int | None:
        return next(daemon.pid for daemon in daemons(self.cluster) if daemon.name == name)

    def tidy(self) -> None:
        """Brings back what a drill left: jobs gone, daemons alive, cables in, nodes idle."""
        if self._daemon("slurmctld") is None:
            self.start_controller()
        for node in self.cluster.nodes:
            if not network.plugged(self.cluster, node.name):
                self.mend(node.name)
        self.run("scancel", "--user=root", check=False)
        self.await_nodes()


def signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    """Signals processes; one that has ended a moment ago, of its neighbour's death perhaps, has ended."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def mount_small(place: Path, mb: int) -> Path:
    """Mounts a disk of `mb` megabytes, unless it is there; nodes that are up already do not see it."""
    place.mkdir(parents=True, exist_ok=True)
    if not place.is_mount():
        run(["mount", "-t", "tmpfs", "-o", f"size={mb}m", "stair-drill", str(place)])
    return place


def unmount_small(place: Path) -> None:
    """Takes it away again."""
    if place.is_mount():
        run(["umount", "--lazy", str(place)])


def program(name: str) -> str:
    """A command of the environment that STAIR is installed in. Raises StairError where there is none."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        raise StairError(f"no {name} beside {sys.executable}", hint="make venv")
    return str(path)
