"""A job becomes the words that do it.

Takes a job whose folders are decided, hands on a Command. Training reads its large tree from the step's
`settings.yaml`, so that argv stays short; the small configurations are said in flags, without their
defaults. Training on several processes goes through torchrun, whose agent lives inside the image.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stair.cluster.container import in_container
from stair.cluster.profile import ClusterProfile
from stair.settings import dump, parse_overrides
from stair.submit.job import CollectJob, EvalJob, StepJob, TrainJob


@dataclass(frozen=True)
class Command:
    """What a step starts; `server` runs beside it and may be empty."""

    argv: tuple[str, ...]
    server: tuple[str, ...] = ()


def settings_file(folder: str) -> Path:
    """Where a step's command finds its settings."""
    return Path(folder) / "settings.yaml"


def address_file(folder: str) -> Path:
    """Where a step's policy server writes its address."""
    return Path(folder) / "server.address"


def step_environment(processes: int, profile: ClusterProfile) -> dict[str, str]:
    """Variables added to what a step inherits: unbuffered logs, and cores shared among processes."""
    environment = {"PYTHONUNBUFFERED": "1"}
    if processes > 1:
        environment["OMP_NUM_THREADS"] = str(max(1, profile.cores // processes))
    return environment


def make_command(
    job: StepJob,
    folder: str,
    profile: ClusterProfile,
    *,
    binds: Sequence[str],
    environment: Mapping[str, str],
) -> Command:
    """The commands of one job: in an image where the profile names one, with GPUs where it has them."""
    container = profile.container

    def python(image: str, *words: str) -> tuple[str, ...]:
        argv = [profile.python or ("python" if image else sys.executable), *words]
        gpus = bool(profile.gpus_per_node)
        return in_container(argv, image, container, folders=binds, environment=environment, gpus=gpus)

    if isinstance(job, CollectJob):
        return Command(python(container.train_image, "-m", "stair.collect", *flags(job.collect)))
    if isinstance(job, TrainJob):
        each = str(job.resources.processes)
        spread = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", each)
        launch = spread if job.resources.processes > 1 else ()
        config = str(settings_file(folder))
        return Command(python(container.train_image, *launch, "-m", "stair.train", "--config", config))
    if isinstance(job, EvalJob):
        return Command(
            python(container.eval_image, "-m", "stair.evaluate", *flags(job.eval)),
            server=python(container.train_image, "-m", "stair.serve", *flags(job.serve)),
        )
    return Command(python(container.eval_image, "-m", "stair.evaluate.cli", job.folder))


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
