"""A job becomes the words that do it.

Takes a job whose folders are decided, hands on a Command. Training reads its large tree from the step's
`settings.yaml`, so that argv stays short; the small configurations are said in flags, without their
defaults. Training on several processes goes through torchrun, whose agent lives inside the image.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from stair.cluster.container import Bind, ContainerConfig, in_container
from stair.cluster.profile import ClusterProfile
from stair.frozen import frozen
from stair.rundir import settings_file
from stair.settings import dump, parse_overrides
from stair.submit.job import CollectJob, CommandJob, EvalJob, StepJob, TrainJob

PYTHON_OF = {"simpler": "/opt/stair/sapien2/bin/python"}
"""The eval image has a Python for SAPIEN 2, too; that of its PATH is for everything else."""


@frozen
class Command:
    """What a step starts; `server` runs beside it and may be empty."""

    argv: tuple[str, ...]
    server: tuple[str, ...] = ()


def step_environment(job: StepJob, profile: ClusterProfile, cores: int) -> dict[str, str]:
    """Variables added to what a step inherits: unbuffered logs, cores shared among processes, networks.

    `cores` of a node are the job's on Slurm, and the machine's (0: not known) on this machine.
    """
    processes, network = job.resources.processes, profile.network
    environment = {"PYTHONUNBUFFERED": "1"}
    if processes > 1 or profile.executor == "slurm":
        have = cores if profile.executor == "slurm" else profile.cores
        environment["OMP_NUM_THREADS"] = str(max(1, have // processes))
    if isinstance(job, EvalJob) and job.eval.render == "nvidia":
        environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # Slurm's numbers, and SAPIEN's
    if isinstance(job, EvalJob) and job.eval.render == "cpu" and environment.get("OMP_NUM_THREADS"):
        # Each of the simulators draws with Mesa on its part of the cores.
        environment["LP_NUM_THREADS"] = str(max(1, cores // max(1, job.eval.workers)))
    if isinstance(job, TrainJob) and job.resources.nodes > 1:
        names = {
            "GLOO_SOCKET_IFNAME": network.interface,
            "NCCL_SOCKET_IFNAME": network.interface,
            "NCCL_IB_HCA": network.hca,
            "NCCL_DEBUG": network.debug,
        }
        environment |= {name: value for name, value in names.items() if value}
    return environment


def image_of(job: StepJob, container: ContainerConfig) -> str:
    """The image in which a step's own command runs; empty: the host."""
    if isinstance(job, CommandJob):
        return {"train": container.train_image, "eval": container.eval_image, "none": ""}[job.image]
    inside = isinstance(job, (CollectJob, TrainJob))
    return container.train_image if inside else container.eval_image


def make_command(
    job: StepJob,
    folder: str,
    profile: ClusterProfile,
    *,
    binds: Sequence[Bind],
    environment: Mapping[str, str],
    gpus: bool,
) -> Command:
    """The commands of one job: in an image where the profile names one, with GPUs where it has them.

    Of an evaluation, simulators get the GPUs of the step only where they draw on them.
    """
    container, image = profile.container, image_of(job, profile.container)

    def inside(image: str, argv: Sequence[str], gpus: bool = gpus) -> tuple[str, ...]:
        return in_container(argv, image, container, folders=binds, environment=environment, gpus=gpus)

    def python(image: str, *words: str) -> tuple[str, ...]:
        return inside(image, [profile.python or ("python" if image else sys.executable), *words])

    if isinstance(job, CommandJob):
        return Command(inside(image, job.argv))
    if isinstance(job, CollectJob):
        return Command(python(image, "-m", "stair.collect", *flags(job.collect)))
    if isinstance(job, TrainJob):
        config = ("--config", str(settings_file(folder)))
        if job.resources.nodes * job.resources.processes == 1:
            return Command(python(image, "-m", "stair.train", *config))
        each = ("--processes", str(job.resources.processes))
        return Command(python(image, "-m", "stair.train.launch", *each, *config))
    if isinstance(job, EvalJob):
        share = ("--shard", "{member}") if job.resources.members > 1 else ()
        words = ["-m", "stair.evaluate", *flags(job.eval), *share]
        interpreter = profile.python or ("python" if image else sys.executable)
        if image:
            interpreter = PYTHON_OF.get(job.eval.simulator, interpreter)
        served = python(container.train_image, "-m", "stair.serve", *flags(job.serve)) if job.model else ()
        return Command(inside(image, [interpreter, *words], job.eval.render == "nvidia"), server=served)
    return Command(python(image, "-m", "stair.evaluate.report", job.folder))


def flags(config: Any) -> list[str]:
    """The settings of a configuration that are not its defaults, as words that parse to the same."""
    plain = dump(type(config)())
    return [
        word
        for key, value in dump(config).items()
        if value != plain[key]
        for word in (f"--{key}", _word(value))
    ]


def _word(value: Any) -> str:
    if isinstance(value, str) and value and parse_overrides(["--x", value]) == [("x", value)]:
        return value
    import yaml

    if isinstance(value, (str, list)):
        style = '"' if isinstance(value, str) else None
        return yaml.safe_dump(value, default_style=style, default_flow_style=True, width=2**30).strip()
    return json.dumps(value)
