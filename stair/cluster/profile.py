"""One cluster as we see it: a name or a path becomes a ClusterProfile.

Profiles are YAML files under slurm/ of the checkout or of the working folder. The surprise: `local` also
exists without any file, so that an installed package can run on the machine it stands on.
"""

from __future__ import annotations

import os
from dataclasses import field, replace
from pathlib import Path
from typing import Literal

from stair.cluster.container import ContainerConfig
from stair.errors import unknown
from stair.frozen import frozen
from stair.settings import build, read_yaml


@frozen
class SlurmConfig:
    """What every job says to Slurm, and how often it may begin again."""

    partition: str = ""
    """Empty: the cluster's default."""
    account: str = ""
    """Empty: SBATCH_ACCOUNT of the environment, else the user's default."""
    qos: str = ""
    constraint: str = ""
    reservation: str = ""
    gres: str = "gpu"
    """GPUs are asked for as `--gres=GRES:N`; with a type for example gpu:h100."""
    cores_per_process: int = 1
    """Cores of a training process; a step without training gets them once per process too."""
    mem_gb: float = 0.0
    """Memory per node; 0: the cluster's default."""
    exclude: tuple[str, ...] = ()
    """Nodes never to be used."""
    warn_s: int = 120
    """How long before the time limit a job is told to save itself (Slurm may be up to 60 s early)."""
    parallel_members: int = 64
    """Members of an array that run at once."""
    options: tuple[str, ...] = ()
    """Further sbatch options, such as `--licenses=x`; those that the plan decides are refused."""
    max_timeouts: int = 20
    """How often a step goes on after its time limit."""
    max_preemptions: int = 50
    """How often a step goes on after making room for others."""
    max_node_failures: int = 3
    """How often a step goes on after a node was lost or unfit."""
    max_crashes: int = 2
    """How often a step goes on after a process was killed or lost its peers on healthy nodes."""


@frozen
class NetworkConfig:
    """Named networks. A name that a node does not have is an error there, never a silent fallback."""

    interface: str = ""
    """Interface of GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME, such as ib0; empty: their own choice."""
    hca: str = ""
    """NCCL_IB_HCA: the InfiniBand adapters, such as mlx5."""
    debug: str = ""
    """NCCL_DEBUG."""


@frozen
class ClusterProfile:
    """What a plan must know about the place it will run at."""

    name: str = "local"
    about: str = ""
    executor: Literal["local", "slurm"] = "local"
    cores: int = 0
    """Cores of one node; 0: not known, nothing is refused for it."""
    gpus_per_node: int | None = None
    """GPUs of one node. None: whatever the machine shows; nothing is hidden, nothing refused."""
    python: str = ""
    """The Python of the steps; empty: the one that submits, or `python` inside an image."""
    grace_s: float = 20.0
    """Between the order to save and the end on this machine; submitit's local executor warns 30 s ahead.
    On Slurm the cluster decides (slurm.warn_s before the time limit, its GraceTime at preemption)."""
    slurm_conf: str = ""
    """SLURM_CONF of this cluster, where it is not the machine's own; `~` and `$NAME` are expanded."""
    slurm: SlurmConfig = field(default_factory=SlurmConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    container: ContainerConfig = field(default_factory=ContainerConfig)


def read_profile(name: str) -> ClusterProfile:
    """Reads the profile called `name`, or the YAML file at that path.

    Raises UsageError for an unknown name (with the known ones) or a file that is no profile.
    """
    if name.endswith(".yaml") or "/" in name:
        path = Path(name)
        return _decode(path, path.stem)
    folders = profile_folders()
    for folder in folders:
        path = folder / f"{name}.yaml"
        if path.exists():
            return _decode(path, name)
    if name == "local":
        return ClusterProfile()
    names = {path.stem for folder in folders for path in folder.glob("*.yaml")} | {"local"}
    raise unknown("cluster", name, names)


def profile_folders() -> list[Path]:
    """Where profiles are looked for, the nearest first."""
    checkout = Path(__file__).resolve().parents[2] / "slurm"
    return [Path("slurm"), checkout]


def _decode(path: Path, name: str) -> ClusterProfile:
    profile = build(ClusterProfile, {"name": name, **read_yaml(path)}, where=path.name)
    inside = profile.container
    inside = replace(
        inside,
        train_image=_place(inside.train_image),
        eval_image=_place(inside.eval_image),
        binds=tuple(_expand(bind) for bind in inside.binds),
    )
    return replace(profile, slurm_conf=_place(profile.slurm_conf), container=inside)


def _expand(path: str) -> str:
    return os.path.expandvars(os.path.expanduser(path))


def _place(path: str) -> str:
    """An absolute path; a relative one is below the working folder, as everywhere on a command line."""
    return os.path.abspath(_expand(path)) if path else ""
