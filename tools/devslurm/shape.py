"""A root folder, a slot and a few numbers become everything that has a name on a development cluster.

Takes what a person may choose (Shape), hands on a Cluster: its paths, namespaces, addresses and nodes, as
plain values. Nothing here touches the machine. The surprise: all daemons live in network namespaces of
their own, the controller too, so ports are the same on every cluster and nothing listens on the host;
only the slot (0..511) tells clusters apart: it is in the name of every interface and in every address.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stair.errors import UsageError

SLOTS = 512
"""198.18.0.0/15, set aside for tests inside one's own walls by RFC 2544, holds this many /24 networks."""
HEAD = "head"
"""Host name of the place where munged, mariadbd, slurmdbd and slurmctld run."""


@dataclass(frozen=True)
class Shape:
    """What a cluster looks like. Each field is an option of `up`."""

    nodes: int = 4
    """How many, 1..64. The first half carries h100 GPUs, the second half a100."""
    cpus: int = 8
    """CPUs that each node claims to have, however many the machine has."""
    memory_mb: int = 8000
    """Memory that a node of the first half claims; those of the second half claim twice as much."""
    gpus: int = 8
    """Fake GPUs of a node of the first half (0..64); those of the second half have half as many."""
    max_array: int = 1001
    """MaxArraySize: indices of an array stay below it."""
    accounting: bool = True
    """slurmdbd and MariaDB, with accounts and QOS; without, Slurm forgets a job MinJobAge after its end."""
    preempt_mode: Literal["requeue", "cancel", "off"] = "requeue"
    """What becomes of a job that has to make room, unless its QOS or partition says otherwise."""
    grace_s: int = 20
    """GraceTime: between the warning of a preempted job and its end."""
    hold_s: int = 120
    """cred_expire, at least 5: how long a requeued job is held back before it may start again."""
    user_signal: bool = True
    """Whether preemption warns by the signal that the job asked for, too (preempt_send_user_signal)."""
    part_limits: Literal["all", "any", "no"] = "all"
    """EnforcePartLimits: `no` lets sbatch take what no partition will ever start."""

    def check(self) -> None:
        """Raises UsageError at the first number that is out of its range."""
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise UsageError(f"{name} is {value}", hint=f"possible are {low} to {high}")


RANGES = {
    "nodes": (1, 64),
    "cpus": (1, 256),
    "memory_mb": (64, 10**8),
    "gpus": (0, 64),
    "max_array": (1, 4_000_001),
    "grace_s": (0, 3600),
    "hold_s": (5, 3600),
}


@dataclass(frozen=True)
class Node:
    """One node as slurm.conf has it."""

    name: str
    address: str
    cpus: int
    memory_mb: int
    gpu: str
    gpus: int


@dataclass(frozen=True)
class Cluster:
    """One development cluster: where it lies and what everything of it is called."""

    root: Path
    slot: int
    shape: Shape = field(default_factory=Shape)

    @property
    def tag(self) -> str:
        """The first part of every interface and namespace; at most 8 letters, since interfaces get 15."""
        return f"stair{self.slot}"

    @property
    def bridge(self) -> str:
        return f"{self.tag}br"

    def namespace(self, place: str) -> str:
        """The network namespace of `head` or of a node."""
        return f"{self.tag}-{place}"

    def cable(self, place: str) -> str:
        """The interface on the host that is the other end of the place's eth0."""
        return f"{self.tag}{'h' if place == HEAD else place}"

    def address(self, number: int) -> str:
        """Node N has number N, the head 253, the host 254."""
        return f"198.{18 + self.slot // 256}.{self.slot % 256}.{number}"

    @property
    def head(self) -> str:
        return self.address(253)

    @property
    def host(self) -> str:
        return self.address(254)

    @property
    def nodes(self) -> tuple[Node, ...]:
        shape = self.shape
        return tuple(
            Node(
                name=f"n{number}",
                address=self.address(number),
                cpus=shape.cpus,
                memory_mb=shape.memory_mb * (1 if number <= self.first_half else 2),
                gpu="h100" if number <= self.first_half else "a100",
                gpus=shape.gpus if number <= self.first_half else shape.gpus // 2,
            )
            for number in range(1, shape.nodes + 1)
        )

    @property
    def first_half(self) -> int:
        """How many nodes carry h100."""
        return (self.shape.nodes + 1) // 2

    @property
    def places(self) -> tuple[str, ...]:
        """Everything that has a namespace: the head, then the nodes."""
        return (HEAD, *(node.name for node in self.nodes))

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    @property
    def slurm_conf(self) -> Path:
        return self.etc / "slurm.conf"

    @property
    def logs(self) -> Path:
        return self.root / "log"

    @property
    def pids(self) -> Path:
        return self.root / "pid"

    @property
    def munge(self) -> Path:
        return self.root / "munge"

    @property
    def munge_socket(self) -> Path:
        return self.munge / "munge.sock"

    @property
    def database(self) -> Path:
        return self.root / "mysql"

    @property
    def database_socket(self) -> Path:
        return self.root / "mysql.sock"

    @property
    def devices(self) -> Path:
        """Where the character devices lie that pass for GPUs."""
        return self.root / "dev"

    @property
    def record(self) -> Path:
        """The slot and the shape, for all commands after `up`."""
        return self.root / "cluster.json"


def node_range(first: int, last: int) -> str:
    """Slurm's short form: n1, n[1-4]."""
    return f"n{first}" if first == last else f"n[{first}-{last}]"
