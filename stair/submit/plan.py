"""A chain of jobs and a cluster become a Plan.

Takes a Chain and a ClusterProfile, hands on a Plan: a plain value that prints as what will be run, and
whose text is RUN/plan.json byte for byte. Nothing here touches disk or network; whatever must be refused
is refused here. Settings do not travel in argv: the sender writes each step's tree to its
`settings.yaml`, where the step's command reads it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stair.cluster.profile import ClusterProfile
from stair.errors import StairError, UsageError, unknown
from stair.settings import Tree, dump
from stair.submit.command import address_file, make_command, settings_file, step_environment
from stair.submit.job import Chain, CollectJob, EvalJob, NamedStep, ReportJob, StepJob, TrainJob
from stair.submit.refusals import check_step


@dataclass(frozen=True)
class Step:
    """One command, the settings it reads, and where it leaves what it makes."""

    name: str
    kind: str
    folder: str
    argv: tuple[str, ...]
    server: tuple[str, ...]
    """A policy server to start first and to end afterwards; empty for most steps."""
    server_timeout_s: float
    settings: Tree
    environment: dict[str, str]
    """Added to what the step inherits."""
    needs: tuple[str, ...]
    """Earlier steps whose folders this one reads."""
    nodes: int
    processes: int
    hours: float

    @property
    def settings_file(self) -> Path:
        """What the step's command reads: the part of the settings that is its own."""
        return settings_file(self.folder)

    @property
    def address_file(self) -> Path:
        """Where the step's server says how it is reached."""
        return address_file(self.folder)

    @property
    def done_file(self) -> Path:
        """The marker of a step that needs no second run."""
        return Path(self.folder) / "done.json"

    def digest(self) -> str:
        """Names the step's settings: a marker with another digest is of another step."""
        text = json.dumps([self.kind, self.settings], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Plan:
    """All that will be run for one submission."""

    recipe: str
    cluster: str
    executor: str
    run: str
    cwd: str
    gpus_per_node: int | None
    grace_s: float
    keep: tuple[str, ...]
    """Host variables that must cross the wall of an image; empty without images."""
    steps: tuple[Step, ...]

    @property
    def hours(self) -> float:
        return sum(step.hours for step in self.steps)

    def text(self) -> str:
        """The plan as it is shown by --json and written to plan.json."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"


def read_plan(path: Path) -> Plan:
    """The inverse of `Plan.text`. Raises StairError when the file is missing or no plan."""
    try:
        tree = json.loads(path.read_text())
        steps = tuple(Step(**{k: _frozen(v) for k, v in step.items()}) for step in tree.pop("steps"))
        return Plan(**{k: _frozen(v) for k, v in tree.items()}, steps=steps)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StairError(f"{path} is no plan: {error!r}", hint="submit again, to another --run") from None


def make_plan(chain: Chain, profile: ClusterProfile, run: Path, *, cwd: Path) -> Plan:
    """Decides everything: folders, commands, what needs what. `run` and `cwd` are absolute.

    Raises UsageError for what the profile cannot give and for settings that contradict each other.
    """
    if profile.executor == "slurm":
        raise UsageError(
            f"cluster '{profile.name}' is a Slurm cluster, and this version submits to this machine only",
            hint="--cluster local",
        )
    steps: list[Step] = []
    made: dict[str, str] = {}  # folder → the step that fills it
    for named in chain.steps:
        folder = str(run if chain.alone else run / named.name)
        check_step(named, profile)
        job = _place(named, folder, str(run))
        environment = step_environment(job.resources.processes, profile)
        command = make_command(job, folder, profile, binds=[str(run), str(cwd)], environment=environment)
        steps.append(
            Step(
                name=named.name,
                kind=named.kind,
                folder=folder,
                argv=command.argv,
                server=command.server,
                server_timeout_s=job.start_timeout_s if isinstance(job, EvalJob) else 0.0,
                settings=_json_tree(job),
                environment=environment,
                needs=_needs(named, job, made, chain, str(run)),
                nodes=job.resources.nodes,
                processes=job.resources.processes,
                hours=job.resources.hours,
            )
        )
        made[folder] = named.name
        if isinstance(job, CollectJob):
            made[job.collect.root] = named.name
    images = profile.container.train_image or profile.container.eval_image
    return Plan(
        recipe=chain.recipe,
        cluster=profile.name,
        executor=profile.executor,
        run=str(run),
        cwd=str(cwd),
        gpus_per_node=profile.gpus_per_node,
        grace_s=profile.grace_s,
        keep=profile.container.keep if images else (),
        steps=tuple(steps),
    )


def differing_settings(old: Plan, new: Plan) -> list[str]:
    """Dotted names of what a new plan would do differently in the same run folder."""
    before = {step.name: dict(_leaves(step.settings)) for step in old.steps}
    after = {step.name: dict(_leaves(step.settings)) for step in new.steps}
    names = []
    for step in [*before, *(name for name in after if name not in before)]:
        if step not in before or step not in after:
            names.append(f"step {step}")
            continue
        left, right = before[step], after[step]
        prefix = "" if len(after) == 1 else f"{step}."
        names += [f"{prefix}{key}" for key in {**left, **right} if left.get(key) != right.get(key)]
    return names


def _place(named: NamedStep, folder: str, run: str) -> StepJob:
    """The job with its own folder and every `{run}` filled in."""
    job, name = named.job, named.name
    if isinstance(job, CollectJob):
        root = _fill(job.collect.root, run, f"{name}.collect.root")
        return replace(job, collect=replace(job.collect, root=root))
    if isinstance(job, TrainJob):
        start = _fill(job.train.init_from, run, f"{name}.train.init_from")
        root = _fill(job.train.data.root, run, f"{name}.train.data.root")
        data = replace(job.train.data, root=root)
        return replace(job, train=replace(job.train, run=folder, init_from=start, data=data))
    if isinstance(job, EvalJob):
        address = str(address_file(folder))
        model = _fill(job.model, run, f"{name}.model")
        serve = replace(job.serve, model=model, port=0, address_file=address)
        return replace(job, model=model, serve=serve, eval=replace(job.eval, run=folder, policy=address))
    return replace(job, folder=_fill(job.folder, run, f"{name}.folder"))


def _fill(path: str, run: str, where: str) -> str:
    for name in re.findall(r"\{(.*?)\}", path):
        if name != "run":
            raise UsageError(f"{where}: {unknown('placeholder', name, ['run'])}")
    return path.replace("{run}", run)


def _needs(
    named: NamedStep, job: StepJob, made: Mapping[str, str], chain: Chain, run: str
) -> tuple[str, ...]:
    """The earlier steps that fill what this one reads. Raises UsageError when only a later one does."""
    if isinstance(job, ReportJob):
        evals = {step.name for step in chain.steps if step.kind == "eval"}
        return tuple(name for folder, name in made.items() if name in evals and _within(folder, job.folder))
    paths = []
    if isinstance(job, TrainJob):
        paths = [job.train.data.root, job.train.init_from]
    elif isinstance(job, EvalJob):
        paths = [job.model]
    later = {f"{run}/{step.name}": step.name for step in chain.steps if step.name not in made.values()}
    for path in paths:
        for folder, name in later.items():
            if not chain.alone and _within(path, folder):
                raise UsageError(
                    f"step {named.name} reads {path}, which only the later step {name} makes",
                    hint=f"put {name} before {named.name}",
                )
    found = [made[folder] for path in paths for folder in made if _within(path, folder)]
    return tuple(dict.fromkeys(found))


def _within(path: str, folder: str) -> bool:
    return Path(path).is_relative_to(folder)


def _json_tree(job: StepJob) -> Tree:
    """The job as plain values that survive JSON, without the resources: those may change on a resume."""
    tree = json.loads(json.dumps(dump(job)))
    del tree["resources"]
    return tree


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
