"""One cluster as we see it: a name or a path becomes a ClusterProfile.

Profiles are YAML files under slurm/ of the checkout or of the working folder. The surprise: `local` also
exists without any file, so that an installed package can run on the machine it stands on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stair.cluster.container import ContainerConfig
from stair.errors import unknown
from stair.settings import build, read_yaml


@dataclass(frozen=True)
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
    """Between the order to save and the end. submitit's local executor warns 30 s ahead."""
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
    return build(ClusterProfile, {"name": name, **read_yaml(path)}, where=path.name)
