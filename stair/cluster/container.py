"""An argv becomes the argv that runs the same inside an image.

Without an image it is the identity. Nothing is looked up here: what is bound and which variables pass the
wall stands in the profile. The surprise: `--cleanenv` would also drop what Slurm, submitit and CUDA set,
so every variable that must pass is named, and reaches the inside by its name, never by its value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ContainerConfig:
    """The images that steps run in, and what they see of the host."""

    train_image: str = ""
    """Path of the SIF for collecting, training and serving; empty runs on the host."""
    eval_image: str = ""
    """The same for simulators and reports."""
    binds: tuple[str, ...] = ()
    """HOST or HOST:INSIDE[:ro], besides the run folder and the working folder."""
    keep: tuple[str, ...] = (
        "CUDA_VISIBLE_DEVICES",
        "MASTER_ADDR",
        "MASTER_PORT",
        "NCCL_DEBUG",
        "NCCL_SOCKET_IFNAME",
        "GLOO_SOCKET_IFNAME",
        "WANDB_MODE",
    )
    """Names of host variables that reach the inside, where they are set."""


def in_container(
    argv: Sequence[str],
    image: str,
    container: ContainerConfig,
    *,
    folders: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    gpus: bool = False,
) -> tuple[str, ...]:
    """The argv to start on the host.

    `folders` are bound as they are, `environment` is set inside by value (it stands in the plan, so it
    holds no secret), and `--nv` is given only with `gpus`: without any it injects the host's libGL.
    """
    if not image:
        return tuple(argv)
    words = ["apptainer", "exec", "--cleanenv"]
    if gpus:
        words.append("--nv")
    for bind in dict.fromkeys([*folders, *container.binds]):
        words += ["--bind", bind]
    for name, value in sorted((environment or {}).items()):
        words += ["--env", f"{name}={value}"]
    return (*words, image, *argv)


def passed_variables(container: ContainerConfig, host: Mapping[str, str]) -> dict[str, str]:
    """What to add to the host environment so that the kept variables cross the wall.

    Apptainer hands APPTAINERENV_NAME inside as NAME, even with `--cleanenv`; the values stay off argv.
    """
    if not (container.train_image or container.eval_image):
        return {}
    return {f"APPTAINERENV_{name}": host[name] for name in container.keep if name in host}
