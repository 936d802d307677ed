"""What one step asks of Slurm, and the sbatch options that say so. Pure.

Takes a Request, hands on (name, value) pairs in a fixed order: the #SBATCH lines of its script. The
surprise: there is no --export among them. Any list of names makes slurmd load the user's login environment
on the node (seen on 22.05), and with it what was left out on purpose; so sbatch itself runs in a short
environment instead, see secrets.py.
"""

from __future__ import annotations

import math

from stair.errors import UsageError
from stair.frozen import frozen

DECIDED = {
    "array": "resources.members",
    "account": "slurm.account, or resources.account",
    "chdir": "the folder that stair-submit is called in",
    "comment": "nothing: it is not used",
    "constraint": "slurm.constraint",
    "cpus-per-task": "slurm.cores_per_process, or resources.cores",
    "dependency": "the order of the recipe's steps",
    "error": "--run DIR: logs are in it",
    "exclude": "slurm.exclude",
    "export": "container.keep",
    "gpus": "slurm.gres and resources.gpus",
    "gpus-per-node": "slurm.gres and resources.gpus",
    "gpus-per-task": "slurm.gres and resources.gpus",
    "gres": "slurm.gres and resources.gpus",
    "job-name": "--run DIR: jobs are named after it",
    "mem": "slurm.mem_gb, or resources.mem_gb",
    "mem-per-cpu": "slurm.mem_gb, or resources.mem_gb",
    "mem-per-gpu": "slurm.mem_gb, or resources.mem_gb",
    "nodes": "resources.nodes",
    "no-requeue": "slurm.max_preemptions 0 and slurm.max_node_failures 0",
    "ntasks": "resources.processes",
    "ntasks-per-node": "resources.processes",
    "open-mode": "nothing: logs are always appended to",
    "output": "--run DIR: logs are in it",
    "partition": "slurm.partition, or resources.partition",
    "qos": "slurm.qos, or resources.qos",
    "requeue": "nothing: it is always given",
    "reservation": "slurm.reservation",
    "signal": "slurm.warn_s",
    "time": "resources.hours",
    "wrap": "a step of kind command",
}
"""Options of sbatch that the plan decides, and what to set instead."""


@frozen
class Request:
    """What one step asks of a cluster: one task on each of `nodes` nodes."""

    step: str
    job_name: str = ""
    nodes: int = 1
    cores: int = 1
    """CPUs per node, as Slurm counts them."""
    mem_gb: float = 0.0
    """GiB per node; 0: the cluster's default."""
    gpus: int = 0
    """Per node."""
    gres: str = "gpu"
    """What GPUs are called: gpu, or with a type gpu:h100."""
    hours: float = 1.0
    partition: str = ""
    """Empty: the cluster's default. Several with commas: any of them."""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    reservation: str = ""
    exclude: tuple[str, ...] = ()
    """Names or host lists, n[1-4]."""
    members: int = 1
    """More than one: an array of them, each with all of the above."""
    parallel: int = 64
    """Members that run at once."""
    warn_s: int = 120
    options: tuple[str, ...] = ()
    alone: bool = False
    """The step is the whole recipe: its flags carry no step's name."""

    @property
    def minutes(self) -> int:
        """The time limit as Slurm takes it; 0 for no time at all."""
        return math.ceil(round(60 * self.hours, 6))

    @property
    def mem_mb(self) -> int:
        """MiB per node."""
        return math.ceil(1024 * self.mem_gb)

    @property
    def gres_name(self) -> str:
        return self.gres.partition(":")[0]

    @property
    def gres_type(self) -> str:
        """Empty: any."""
        return self.gres.partition(":")[2]

    def flag(self, name: str) -> str:
        """The flag of stair-submit that sets one of the step's resources."""
        return f"--resources.{name}" if self.alone else f"--{self.step}.resources.{name}"


def sbatch_options(request: Request, *, log: str = "", cwd: str = "") -> tuple[tuple[str, str | None], ...]:
    """The options of a step's script; the array, dependencies and holds are the sender's.

    `log` is a file name as --output takes it. Raises UsageError for a profile's own option that the plan
    decides, or that is none.
    """
    gres = f"{request.gres}:{request.gpus}" if request.gpus > 0 else ""
    pairs: list[tuple[str, str | None]] = [
        ("job-name", request.job_name or request.step),
        ("partition", request.partition),
        ("account", request.account),
        ("qos", request.qos),
        ("reservation", request.reservation),
        ("constraint", request.constraint),
        ("exclude", ",".join(request.exclude)),
        ("nodes", str(request.nodes)),
        ("ntasks-per-node", "1"),
        ("cpus-per-task", str(request.cores)),
        ("mem", f"{request.mem_mb}M" if request.mem_mb > 0 else ""),
        ("gres", gres),
        ("time", str(request.minutes)),
        ("signal", f"B:USR2@{request.warn_s}" if request.warn_s > 0 else ""),
        ("requeue", None),
        ("open-mode", "append" if log else ""),
        ("output", log),
        ("chdir", cwd),
    ]
    # Empty means "not said"; None is an option without a value.
    return (*(pair for pair in pairs if pair[1] != ""), *(_own_option(word) for word in request.options))


def _own_option(word: str) -> tuple[str, str | None]:
    name, equals, value = word.removeprefix("--").partition("=")
    if not word.startswith("--") or not name or " " in name:
        raise UsageError(f"slurm.options: '{word}' is no option", hint="--NAME=VALUE, such as --licenses=x:2")
    if name in DECIDED:
        raise UsageError(f"slurm.options: --{name} is decided by the plan", hint=f"set {DECIDED[name]}")
    return name, value if equals else None
