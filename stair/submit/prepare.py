"""Everything that is looked up before a plan can be made and judged.

Takes a chain, a profile and the run folder, looks at the package's code, the images, the paths and (on
Slurm) the cluster, hands on the Plan and a Verdict about it. The looking is here; deciding is planning.py,
batches.py and preflight.py. Nothing is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path

from stair.cluster.container import runs_inside
from stair.cluster.digest import file_digest
from stair.cluster.image import check_image, inspect_image
from stair.cluster.profile import ClusterProfile
from stair.cluster.slurm import read_cluster
from stair.frozen import frozen
from stair.sim.tasks import DRAWING
from stair.submit import shares
from stair.submit.batches import make_request, with_batches
from stair.submit.job import Chain
from stair.submit.plan import Plan, Step
from stair.submit.planning import Origin, make_plan, reads
from stair.submit.preflight.judge import preflight
from stair.submit.preflight.paths import Paths, Reads, check_paths, look, paths_to_look_at
from stair.submit.preflight.verdict import Refusal, Verdict, join
from stair.submit.secrets import cluster_environment, refuse_secrets
from stair.submit.snapshot import describe_code


@frozen
class Prepared:
    """A plan and what is to be said about it."""

    plan: Plan
    verdict: Verdict = field(default_factory=Verdict)


def prepare(
    chain: Chain, profile: ClusterProfile, run: Path, *, cwd: Path, environment: Mapping[str, str]
) -> Prepared:
    """Plans a submission to any cluster and judges it.

    Raises UsageError for settings that contradict each other or hold a secret, StairError when the cluster
    does not answer.
    """
    plan = make_plan(chain, profile, run, cwd=cwd, origin=look_up_origin(profile, chain, cwd))
    refuse_secrets(plan, environment)  # before anything of it is shown
    images = judge_images(plan, profile)
    evaluations = Verdict((), tuple(shares.notes(chain, profile)), tuple(shares.describe(chain, profile)))
    if profile.executor == "local":
        return Prepared(plan, join([images, evaluations]))
    facts = read_cluster(cluster_environment(environment, profile.slurm_conf))
    account = environment.get("SBATCH_ACCOUNT", "")
    requests = [
        make_request(plan, step, named.job.resources, profile, account=account, alone=chain.alone)
        for step, named in zip(plan.steps, chain.steps, strict=True)
    ]
    plan = with_batches(plan, requests, profile, max_array=facts.max_array_size)
    paths = paths_of(plan, profile, alone=chain.alone)
    here = check_paths(paths, look(paths_to_look_at(paths)))
    return Prepared(plan, join([preflight(requests, facts), images, here, evaluations]))


def paths_of(plan: Plan, profile: ClusterProfile, *, alone: bool) -> Paths:
    """Everything of a plan that lies on a disk."""
    roots = {step.settings["collect"]["root"]: step.name for step in plan.steps if step.kind == "collect"}
    return Paths(
        run=plan.run,
        cwd=plan.cwd,
        reads=tuple(
            Reads(step.name, path, f"--{'' if alone else step.name + '.'}{setting}", runs_inside(step.argv))
            for step in plan.steps
            for setting, path in step.reads.items()
        ),
        made={step.folder: step.name for step in plan.steps} | roots,
        binds=profile.container.binds,
        elsewhere=True,
    )


def look_up_origin(profile: ClusterProfile, chain: Chain, cwd: Path) -> Origin:
    """The digests of the code and of the images that exist; where links of what is read lead."""
    if profile.executor == "local" and not profile.container.images:
        return Origin()
    images = {image: file_digest(Path(image)) for image in profile.container.images if Path(image).is_file()}
    if not images:
        return Origin(describe_code().digest)
    paths = [path for step in chain.steps for path in reads(step.job).values()]
    real = {path: os.path.realpath(cwd / path) for path in paths if os.path.exists(cwd / path)}
    links = {path: place for path, place in real.items() if place != os.path.normpath(cwd / path)}
    return Origin(describe_code().digest, images, links)


def judge_images(plan: Plan, profile: ClusterProfile) -> Verdict:
    """Whether the steps can run in the profile's images, as far as that shows from here."""
    refusals, notes = [], []
    for image, kind, users in _uses(plan, profile):
        facts = inspect_image(image)
        gpus = kind == "train" and any(step.gpus for step in users)
        for problem in check_image(facts, machine=os.uname().machine, kind=kind, gpus=gpus):
            if problem.certain:
                why = f"{problem.what}; {problem.why}"
                refusals.append(Refusal(problem.id, users[0].name, f"image {image}", why, problem.cure))
            else:
                notes.append(f"{problem.what}; {problem.cure}")
    return Verdict(tuple(refusals), tuple(notes))


def _uses(plan: Plan, profile: ClusterProfile) -> Iterator[tuple[str, str, list[Step]]]:
    """Every image that is used, the kind it must be of, and the steps that use it so.

    One image may stand for both kinds, as long as no simulator draws in it: then it must be an eval image.
    """
    container = profile.container
    for image in container.images:
        drawing = [
            step
            for step in plan.steps
            if image in step.argv and step.settings.get("eval", {}).get("simulator") in DRAWING
        ]
        kind = "train" if image == container.train_image else "eval"
        others = [
            step
            for step in plan.steps
            if image in step.server or (image in step.argv and step not in drawing)
        ]
        yield from ((image, kind, users) for kind, users in ((kind, others), ("eval", drawing)) if users)
