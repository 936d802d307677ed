"""A chain of jobs and a cluster become a Plan.

Takes a Chain and a ClusterProfile, hands on a Plan. Nothing here touches disk or network; whatever must be
refused for the words' own sake is refused here (what a cluster cannot give: preflight.py). The surprise: what
a step reads outside of the run and the working folder is bound into its image by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from stair.cluster.container import Bind
from stair.cluster.profile import ClusterProfile
from stair.errors import UsageError, unknown
from stair.frozen import frozen
from stair.rundir import address_file
from stair.settings import Tree, dump
from stair.submit.command import image_of, make_command, step_environment
from stair.submit.job import Chain, CollectJob, CommandJob, EvalJob, NamedStep, ReportJob, StepJob, TrainJob
from stair.submit.layout import is_address
from stair.submit.plan import CODE_INSIDE, Budgets, Plan, Step, snapshot_folder
from stair.submit.refusals import check_step
from stair.submit.shares import settle


@frozen
class Origin:
    """What a plan pins down of the outside: looked up by the caller, so that planning stays pure."""

    code: str = ""
    """Digest of the package's files; empty: the installed code runs, no snapshot is taken."""
    images: dict[str, str] = field(default_factory=dict)
    """SHA-256 of every image of the profile, by path."""
    links: dict[str, str] = field(default_factory=dict)
    """Where a path that steps read really lies, if a symbolic link leads there."""


def make_plan(
    chain: Chain, profile: ClusterProfile, run: Path, *, cwd: Path, origin: Origin | None = None
) -> Plan:
    """Decides everything but the batches of Slurm (batches.py): folders, commands, what needs what.

    `run` and `cwd` are absolute. Raises UsageError for what the profile cannot give and for settings that
    contradict each other.
    """
    origin = origin or Origin()
    if origin.code and ":" in str(run):
        raise UsageError(
            f"the run folder {run} has a colon in it, where PYTHONPATH is cut: its code would not be found",
            hint="--run with another folder",
        )
    steps: list[Step] = []
    made: dict[str, str] = {}  # folder → the step that fills it
    for named in chain.steps:
        folder = str(run if chain.alone else run / named.name)
        prefix = "" if chain.alone else f"{named.name}."
        check_step(named, profile, prefix)
        if isinstance(named.job, EvalJob):
            named = replace(named, job=settle(named.job, profile, prefix))
        job = _place(named, folder, str(run))
        steps.append(_make_step(named.name, named.kind, job, folder, profile, run, cwd, origin, made, chain))
        made[folder] = named.name
        if isinstance(job, CollectJob):
            made[job.collect.root] = named.name
    slurm = profile.slurm
    return Plan(
        recipe=chain.recipe,
        cluster=profile.name,
        executor=profile.executor,
        run=str(run),
        cwd=str(cwd),
        gpus_per_node=profile.gpus_per_node,
        grace_s=profile.grace_s,
        keep=profile.container.keep if profile.container.images or profile.executor == "slurm" else (),
        steps=tuple(steps),
        code=origin.code,
        images=origin.images,
        slurm_conf=profile.slurm_conf,
        warn_s=slurm.warn_s,
        budgets=Budgets(
            slurm.max_timeouts, slurm.max_preemptions, slurm.max_node_failures, slurm.max_crashes
        ),
    )


def _make_step(
    name: str,
    kind: str,
    job: StepJob,
    folder: str,
    profile: ClusterProfile,
    run: Path,
    cwd: Path,
    origin: Origin,
    made: Mapping[str, str],
    chain: Chain,
) -> Step:
    wanted = job.resources
    cores = wanted.cores or wanted.processes * profile.slurm.cores_per_process
    environment = step_environment(job, profile, cores)
    outside = [Bind(path, read_only=True) for path in _outside(job, run, cwd)]
    # A link of a bound folder is seen inside, so that where it leads must be there too, and first.
    behind = [origin.links[path] for path in reads(job).values() if path in origin.links]
    linked = [Bind(path, read_only=True) for path in dict.fromkeys(behind) if not _within(path, str(cwd))]
    binds = [Bind(str(run)), Bind(str(cwd)), *linked, *outside]
    if origin.code:
        place = snapshot_folder(run, origin.code)
        if profile.container.images:
            binds.append(Bind(str(place), CODE_INSIDE, read_only=True))
        # Without it `python -m` would take a `stair` folder of the working folder first (Python 3.11).
        environment["PYTHONSAFEPATH"] = environment["PYTHONDONTWRITEBYTECODE"] = "1"
        environment["PYTHONPATH"] = CODE_INSIDE if image_of(job, profile.container) else str(place)
    gpus = _gpus(job, profile)
    command = make_command(job, folder, profile, binds=binds, environment=environment, gpus=gpus > 0)
    evaluation = job if isinstance(job, EvalJob) else None
    return Step(
        name=name,
        kind=kind,
        folder=folder,
        argv=command.argv,
        server=command.server,
        server_timeout_s=evaluation.start_timeout_s if evaluation else 0.0,
        settings=_json_tree(job),
        environment=environment,
        needs=_needs(name, job, made, chain, str(run)),
        nodes=wanted.nodes,
        processes=wanted.processes,
        hours=wanted.hours,
        cores=cores,
        mem_gb=wanted.mem_gb or profile.slurm.mem_gb,
        gpus=gpus,
        members=wanted.members,
        reads=reads(job),
        layout=evaluation.layout if evaluation else "",
    )


def _gpus(job: StepJob, profile: ClusterProfile) -> int:
    """GPUs per node: what was asked for, else what the kind of work can use of what the cluster has."""
    if job.resources.gpus >= 0 or not profile.gpus_per_node:
        return max(0, job.resources.gpus)
    return job.resources.processes if isinstance(job, TrainJob) else 0


def _outside(job: StepJob, run: Path, cwd: Path) -> list[str]:
    """What a step reads that lies neither in the run nor in the working folder."""
    paths = [path for path in reads(job).values() if Path(path).is_absolute()]
    return [path for path in paths if not (_within(path, str(run)) or _within(path, str(cwd)))]


def reads(job: StepJob) -> dict[str, str]:
    """The paths that a step reads, by the setting that names them."""
    paths = {}
    if isinstance(job, TrainJob):
        data, dynamic = job.train.data, job.train.model.dynamic
        tokenizer = job.train.inputs.language.tokenizer
        univam = dynamic.kind == "univam"
        paths = {
            "train.data.root": data.root,
            "train.data.dynamic_tokens": data.dynamic_tokens,
            "train.data.statistics": data.statistics if "/" in data.statistics else "",
            "train.init_from": job.train.init_from,
            "train.inputs.language.tokenizer": tokenizer if "/" in tokenizer else "",
            "train.model.dynamic.checkpoint": dynamic.checkpoint if univam else "",
            "train.model.dynamic.wan_vae": dynamic.wan_vae if univam else "",
        }
    elif isinstance(job, EvalJob):
        paths = {"policy" if job.policy else "model": job.model, "eval.assets": job.eval.assets}
    return {setting: path for setting, path in paths.items() if path}


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
        data = job.train.data
        places = {field: getattr(data, field) for field in ("root", "dynamic_tokens", "statistics")}
        filled = {field: _fill(path, run, f"{name}.train.data.{field}") for field, path in places.items()}
        data = replace(data, **filled)
        return replace(job, train=replace(job.train, run=folder, init_from=start, data=data))
    if isinstance(job, EvalJob):
        address = str(address_file(folder, "{member}" if job.resources.members > 1 else None))
        shares = replace(job.eval, run=folder, shards=job.resources.members)
        if is_address(job.policy):
            return replace(job, model="", eval=replace(shares, policy=job.policy))
        model = _fill(job.policy or job.model, run, f"{name}.{'policy' if job.policy else 'model'}")
        serve = replace(job.serve, model=model, port=0, address_file=address)
        return replace(job, model=model, serve=serve, eval=replace(shares, policy=address))
    if isinstance(job, CommandJob):
        return replace(job, argv=tuple(word.replace("{run}", run) for word in job.argv))
    return replace(job, folder=_fill(job.folder, run, f"{name}.folder"))


def _fill(path: str, run: str, where: str) -> str:
    for name in re.findall(r"\{(.*?)\}", path):
        if name != "run":
            raise UsageError(f"{where}: {unknown('placeholder', name, ['run'])}")
    return path.replace("{run}", run)


def _needs(step: str, job: StepJob, made: Mapping[str, str], chain: Chain, run: str) -> tuple[str, ...]:
    """The earlier steps that fill what this one reads. Raises UsageError when only a later one does."""
    if isinstance(job, ReportJob):
        evals = {other.name for other in chain.steps if other.kind == "eval"}
        return tuple(name for folder, name in made.items() if name in evals and _within(folder, job.folder))
    if isinstance(job, CommandJob):  # nobody knows what it reads: it comes after all before it
        return tuple(dict.fromkeys(made.values()))
    later = {f"{run}/{other.name}": other.name for other in chain.steps if other.name not in made.values()}
    paths = list(reads(job).values())
    for path in paths:
        for folder, name in later.items():
            if not chain.alone and _within(path, folder):
                raise UsageError(
                    f"step {step} reads {path}, which only the later step {name} makes",
                    hint=f"put {name} before {step}",
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
