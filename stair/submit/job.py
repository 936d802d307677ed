"""What a person may ask for, as plain values.

A recipe and its overrides become one of these, checked as a whole; plan.py turns them into what will be
run. Every job carries the settings of the room that does the work and the resources it wants. Paths in
them may begin with `{run}`, the run folder, so that later steps of a chain can name earlier ones.
"""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from stair.collect.config import CollectConfig
from stair.evaluate.config import EvalConfig
from stair.frozen import frozen
from stair.serve.config import ServeConfig
from stair.train.config import TrainConfig


@frozen
class Resources:
    """How much of a cluster a step may use."""

    nodes: int = 1
    processes: int = 1
    """Training processes per node; where there are GPUs, one each."""
    hours: float = 24.0
    """After this the step is told to save itself, and ended."""
    cores: int = 0
    """Cores per node; 0: the cluster's slurm.cores_per_process for every process."""
    mem_gb: float = 0.0
    """Memory per node; 0: the cluster's slurm.mem_gb."""
    gpus: int = -1
    """GPUs per node; -1: what the work can use, where the cluster has any: one per process for training,
    for an evaluation one or, with layout split, two."""
    members: int = 1
    """Evaluations and commands: shares that run as an array, each on its own resources. An evaluation has no
    more of them than episodes, and on this machine one."""
    partition: str = ""
    """Empty: the cluster's slurm.partition."""
    account: str = ""
    qos: str = ""


@frozen
class CollectJob:
    """Demonstrations of the built-in simulator's expert, written as a data set."""

    collect: CollectConfig = field(default_factory=CollectConfig)
    resources: Resources = field(default_factory=Resources)


@frozen
class TrainJob:
    """One training stage."""

    train: TrainConfig = field(default_factory=TrainConfig)
    resources: Resources = field(default_factory=Resources)


@frozen
class EvalJob:
    """One policy, served and tried in a simulator."""

    policy: str = ""
    """A model folder, or ws://HOST:PORT of a server that is there already; takes the place of `model`."""
    model: str = "runs/stage2"
    """A model folder, or a run folder (its newest checkpoint); every member serves it to itself."""
    layout: Literal["auto", "colocated", "split", "cpu-render"] = "auto"
    """colocated: server and simulators on one GPU. split: on different ones. cpu-render: simulators draw on
    CPU cores. auto: split with two GPUs, colocated with one, else cpu-render."""
    eval: EvalConfig = field(default_factory=EvalConfig)
    serve: ServeConfig = field(default_factory=ServeConfig)
    start_timeout_s: float = 1800.0
    """How long the server may take to load the model before it counts as stuck."""
    resources: Resources = field(default_factory=Resources)


@frozen
class ReportJob:
    """The table and the page about evaluations."""

    folder: str = "{run}"
    """Run folder of an evaluation, or of a chain with evaluations in it; the report lands there."""
    resources: Resources = field(default_factory=Resources)


@frozen
class CommandJob:
    """Any program, run with the same guarantees as the rest: image, binds, retries, array members."""

    argv: tuple[str, ...] = ()
    """The program and its words. `{run}` stands for the run folder, `{member}` for the array member."""
    image: Literal["train", "eval", "none"] = "train"
    """Which of the cluster's images it runs in; where there is none, and for none, it runs on the host."""
    resources: Resources = field(default_factory=Resources)


StepJob = CollectJob | TrainJob | EvalJob | ReportJob | CommandJob

KINDS: dict[str, type[StepJob]] = {
    "collect": CollectJob,
    "train": TrainJob,
    "eval": EvalJob,
    "report": ReportJob,
    "command": CommandJob,
}
"""The kinds a recipe or a step of one may have, and what its tree is decoded into."""


@frozen
class NamedStep:
    """A job with the name its folder and its overrides carry."""

    name: str
    kind: str
    job: StepJob


@frozen
class Chain:
    """Steps in the order they run. A recipe of a single job is a chain of one, `alone` in the folder."""

    recipe: str
    steps: tuple[NamedStep, ...]
    alone: bool = False


DECIDED = {
    "train.run": "--run DIR",
    "eval.run": "--run DIR",
    "eval.policy": "--policy DIR, or --policy ws://HOST:PORT",
    "serve.model": "--policy DIR",
    "serve.port": "nothing: a free port is found",
    "serve.address_file": "--run DIR",
    "eval.shard": "resources.members: the plan gives every member its share",
    "eval.shards": "resources.members: the plan gives every member its share",
}
"""Settings that the plan decides, and what to say instead."""
