"""The running cluster as tests hold it: a value with an environment, and the things one does to a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tools.devslurm import life, look, network
from tools.devslurm.daemons import environment
from tools.devslurm.shape import Cluster
from tools.devslurm.system import run, wait_until


@dataclass(frozen=True)
class LiveSlurm:
    """One running development cluster."""

    cluster: Cluster
    environment: Mapping[str, str]
    """For subprocesses: SLURM_CONF, a PATH with Apptainer on it, no SLURM_* of anybody else."""

    @property
    def root(self) -> Path:
        return self.cluster.root

    @property
    def slurm_conf(self) -> Path:
        return self.cluster.slurm_conf

    def run(self, *argv: str, timeout_s: float = 60.0, check: bool = True, cwd: Path | None = None) -> str:
        """Runs a command on the submitting machine; its output, stderr included."""
        return run(argv, timeout_s=timeout_s, check=check, env=dict(self.environment), cwd=cwd)

    def on(self, node: str, argv: Sequence[str], timeout_s: float = 60.0) -> str:
        """Runs a command as if on that node (or on `head`)."""
        return run(network.enter(self.cluster, node, argv), timeout_s=timeout_s, env=dict(self.environment))

    def submit(self, script: str, *options: str, cwd: Path | None = None) -> str:
        """Sends a line of shell with sbatch; the job's id. Without `cwd` what it says is not kept."""
        quiet = () if cwd else ("--output=/dev/null",)
        said = self.run("sbatch", "--parsable", *quiet, *options, "--wrap", script, cwd=cwd)
        return said.strip().splitlines()[-1]

    def state(self, what: str) -> str:
        """The state of a job (12, 12_3), such as RUNNING, or of a node, such as idle."""
        if what in self.cluster.places:
            return look.ask_node(self.cluster, what)
        return look.ask_job(self.cluster, what)[0]

    def jobs(self) -> str:
        """Every job that is not over, one a line: id, name, state. StairError when Slurm does not answer."""
        return self.run("squeue", "--noheader", "--all", "--format=%i %j %T").strip()

    def _cancelled(self) -> bool:
        self.run("scancel", "--user=root", check=False)
        return not self.jobs()

    def wait_for_state(self, what: str, *states: str, timeout_s: float = 60.0) -> str:
        """Waits until a job or node is in one of `states` and returns it; AssertionError when it does not.

        Slurm forgets jobs five minutes after their end. A node that does not answer has a `*`: down*.
        """
        seen = ""

        def reached() -> bool:
            nonlocal seen
            seen = self.state(what)
            return seen in states

        assert wait_until(reached, timeout_s, 0.2), f"{what} is {seen} after {timeout_s:.0f} s, not {states}"
        return seen

    def kick(self, job: str, timeout_s: float = 60.0) -> None:
        """Lets a requeued job start now instead of two minutes later; waits until it is held for that."""
        look.kick(self.cluster, job, timeout_s)

    def cut(self, node: str) -> None:
        """Pulls the cable of a node; Slurm notices after about 35 s."""
        network.set_cable(self.cluster, node, False)

    def mend(self, node: str, timeout_s: float = 150.0) -> None:
        """Plugs it in again and waits until the node takes jobs."""
        network.set_cable(self.cluster, node, True)
        self.wait_for_state(node, "idle", "mixed", "allocated", timeout_s=timeout_s)

    def stop(self, daemon: str) -> None:
        """Ends slurmctld, slurmdbd or the slurmd of a node; `restart` brings it back."""
        life.stop(self.cluster, daemon)

    def restart(self, daemon: str) -> None:
        """Ends a daemon, if it lives, starts it again and waits until it answers."""
        life.restart(self.cluster, daemon)

    def tidy(self) -> None:
        """Brings back what a test left: no jobs, daemons alive, cables in, nodes in service."""
        for node in self.cluster.nodes:
            if not network.plugged(self.cluster, node.name):
                network.set_cable(self.cluster, node.name, True)
        if not all(look.status(self.cluster).daemons.values()):
            life.up(self.root, self.cluster.shape)
        if self.jobs():  # before nodes are back in service, so that nothing of them starts
            assert wait_until(self._cancelled, 120.0, 0.2), self.jobs()
        for node in look.status(self.cluster).nodes:
            if node.state.startswith("drain"):
                self.run("scontrol", "update", f"NodeName={node.name}", "State=RESUME")
        ready = wait_until(lambda: look.status(self.cluster).well, 150.0, 0.2)
        assert ready, look.as_text(look.status(self.cluster))


def live(cluster: Cluster, apptainer: Path | None) -> LiveSlurm:
    """The cluster with the environment that subprocesses of a test get."""
    variables = environment(cluster)
    if apptainer:
        variables["PATH"] = f"{apptainer.parent}:{variables['PATH']}"
    return LiveSlurm(cluster, MappingProxyType(variables))
