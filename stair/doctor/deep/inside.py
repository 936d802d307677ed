"""How a script of this room is started: in an image, or with this Python.

Takes a Place and a module, hands on argv and variables. Two surprises: the script and what it imports are
those of here even in an image, whose own copy of STAIR may be older, so `stair` is bound over it as a job's
snapshot is; and on a node that was sent our modules through srun there are no files of them, so the few that
the script needs are written out, and removed when this process ends.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType

import stair
from stair.cluster.container import Bind, ContainerConfig, in_container, runtime_environment
from stair.cluster.graphics import on_this_node

IN_IMAGE = "/opt/stair/src/stair"
"""Where our images keep the package; PYTHONPATH names the folder above it."""


@dataclass(frozen=True)
class Place:
    """Where scripts run."""

    image: str = ""
    """Path of a SIF; empty: this machine itself."""
    gpus: bool = False
    """Whether the image is given NVIDIA's driver."""
    container: ContainerConfig = field(default_factory=ContainerConfig)
    """Folders and variables that the cluster's profile takes inside."""

    def start(
        self,
        script: ModuleType,
        words: Sequence[str],
        *,
        python: str = "python",
        variables: Mapping[str, str] | None = None,
        folders: Sequence[str] = (),
        host: Mapping[str, str] = os.environ,
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """The argv and all variables of `python -m SCRIPT words`; `python` is that of the image.

        Raises UsageError like `in_container` and `runtime_environment`.
        """
        variables = {"PYTHONUNBUFFERED": "1", **(variables or {})}
        spec = script.__spec__
        name = spec.name if spec else script.__name__  # the latter is __main__ in the script itself
        argv = ("-W", "ignore", "-m", name, *words)
        package = package_of(name)
        if not self.image:
            path = os.pathsep.join(filter(None, (str(package.parent), host.get("PYTHONPATH", ""))))
            return (sys.executable, *argv), {**host, "PYTHONPATH": path, **variables}
        binds = [Bind(str(package), IN_IMAGE, read_only=True), *(Bind(folder) for folder in folders)]
        inside = in_container(
            (python, *argv),
            os.path.abspath(self.image),
            self.container,
            folders=binds,
            environment=variables,
            gpus=self.gpus,
        )
        return on_this_node(inside, runtime_environment(host, self.container.keep, variables))[:2]


@cache
def package_of(script: str) -> Path:
    """The folder `stair` with the module and all that it imports: ours, or one written for it."""
    if getattr(stair, "__file__", None):
        return Path(str(stair.__file__)).parent
    from stair.doctor.luggage import modules_below

    folder = tempfile.TemporaryDirectory(prefix="stair-doctor-")
    _WRITTEN.append(folder)
    sources = modules_below(script)
    for name, source in sources.items():
        path = Path(folder.name, *name.split("."))
        is_package = any(other.startswith(f"{name}.") for other in sources)
        path = path / "__init__.py" if is_package else path.with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return Path(folder.name) / "stair"


_WRITTEN: list[tempfile.TemporaryDirectory[str]] = []
"""Kept until this process ends, which removes them."""
