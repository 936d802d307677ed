"""A Plan becomes jobs of a Slurm cluster: all of them, or none.

Takes a Plan with batches, writes the run folder (plan, settings, code snapshot, manifest) and sends what is
missing of every batch through submitit. What is finished, or held by a living job of an earlier submission,
is not sent twice. The surprise: when the cluster refuses one batch of a chain, or Ctrl-C comes in between,
those before it are cancelled again, so that no half of a chain is left behind.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from stair.cluster.jobs import ask_jobs, latest_jobs, missing_members
from stair.cluster.jobstate import JobState
from stair.cluster.ledger import Sent, read_sent, record_sent
from stair.console import say
from stair.errors import StairError
from stair.frozen import frozen
from stair.rundir import RunDir, write_whole
from stair.submit.batches import array_words
from stair.submit.folder import refuse_other_settings, write_settings
from stair.submit.manifest import describe, write_manifest
from stair.submit.markers import is_done
from stair.submit.plan import Batch, Plan
from stair.submit.secrets import check_kept, cluster_environment, refuse_secrets
from stair.submit.sending import new_stamp, scancel, send_batch, stamped_jobs
from stair.submit.snapshot import describe_code, take_snapshot
from stair.submit.worker import only_worker


@frozen
class Wanted:
    """What is left to send of one batch."""

    batch: Batch
    members: tuple[int, ...]
    """Of an array, in the step's count."""
    after: tuple[str, ...]
    """Living jobs of earlier submissions that it waits for; those sent now come on top."""


def send_to_slurm(plan: Plan) -> list[Sent]:
    """Sends what is missing of a plan; returns what was sent, which may be nothing.

    Raises UsageError when the folder holds a run of other settings or a secret stands in the plan, StairError
    when jobs of older code are still alive in it or when the cluster refuses a batch.
    """
    run = RunDir(Path(plan.run))
    refuse_other_settings(plan, run)
    refuse_secrets(plan, os.environ)
    check_kept(os.environ, plan.keep)
    run.create()
    with only_worker(run):
        earlier, states = how_it_stands(run, plan.slurm_conf)
        wanted = what_is_missing(plan, earlier, states)
        if wanted:
            _refuse_other_plan(plan, run, [id for id, state in states.items() if state.alive])
        (run.path / "cancelled").unlink(missing_ok=True)  # or what is alive would not begin
        if not wanted:
            return []
        attempt = describe(plan)
        take_snapshot(run, describe_code())
        for step in plan.steps:
            write_settings(step)
        write_whole(run.plan, plan.text())
        (run.logs / "slurm").mkdir(parents=True, exist_ok=True)
        sent = _send_all(plan, wanted, run)
        write_manifest(plan, run, attempt, ",".join(dict.fromkeys(line.job for line in sent)))
    return sent


def how_it_stands(run: RunDir, slurm_conf: str) -> tuple[list[Sent], dict[str, JobState]]:
    """Everything that was sent, and how it stands. Raises SlurmIsSilent when slurmctld does not answer.

    A supervisor that sends its job again says so before the old job ends: when the old one is seen to have
    ended, the line of the new one is there, and that one is asked about too.
    """
    sent = read_sent(run)
    while True:
        states = ask_sent(sent, slurm_conf)
        asked, sent = sent, read_sent(run)
        if sent == asked:
            return sent, states


def ask_sent(sent: Sequence[Sent], slurm_conf: str) -> dict[str, JobState]:
    """How the jobs of earlier submissions stand. Raises SlurmIsSilent when slurmctld does not answer."""
    if not sent:
        return {}
    environment = cluster_environment(os.environ, slurm_conf)
    return ask_jobs([line.job for line in sent], environment, accounting=False)


def what_is_missing(plan: Plan, earlier: Sequence[Sent], states: Mapping[str, JobState]) -> list[Wanted]:
    """What has neither a done marker nor a living job. Looks at nothing but the markers."""
    found = []
    for batch in plan.batches:
        step = plan.step(batch.step)
        alive = (line.job for line in earlier if line.step in batch.after and _lives(line.job, states))
        after = tuple(dict.fromkeys(alive))
        if not batch.count:
            job = latest_jobs(earlier, step.name).get(None, "")
            if not is_done(step) and not _lives(job, states):
                found.append(Wanted(batch, (), after))
            continue
        done = {member for member in range(step.members) if is_done(step.of_member(member))}
        missing = missing_members(step.members, earlier, step.name, states, done)
        share = tuple(m for m in missing if batch.first <= m < batch.first + batch.count)
        if share:
            found.append(Wanted(batch, share, after))
    return found


def _lives(job: str, states: Mapping[str, JobState]) -> bool:
    """Whether a job, or any member of an array, is alive."""
    return any(state.alive for id, state in states.items() if id.partition("_")[0] == job)


def _refuse_other_plan(plan: Plan, run: RunDir, living: Sequence[str]) -> None:
    """Jobs that are alive read the plan of the run folder: it must not change under them."""
    if not living:
        return
    try:
        same = run.plan.read_text() == plan.text()
    except OSError:
        same = False
    if not same:
        names = sorted({id.partition("_")[0] for id in living}, key=int)
        raise StairError(
            f"jobs {', '.join(names[:5])} of {run.path} are alive, and run other code or resources",
            hint=f"wait for them, or stair-submit --cancel {run.path} and repeat this command",
        )


def _send_all(plan: Plan, wanted: Sequence[Wanted], run: RunDir) -> list[Sent]:
    sent: list[Sent] = []
    stamp = ""
    try:
        for want in wanted:
            batch = want.batch
            now = [line.job for line in sent if line.step in batch.after]
            after = tuple(dict.fromkeys([*want.after, *now]))
            words = array_words(batch, want.members)
            if after:
                kind = "afterany" if batch.whatever_happens else "afterok"
                words += [f"--dependency={kind}:{':'.join(after)}", "--kill-on-invalid-dep=yes"]
            stamp = new_stamp()
            job = send_batch(batch, words, run, slurm_conf=plan.slurm_conf, keep=plan.keep, stamp=stamp)
            sent.append(Sent(batch.name, batch.step, job, want.members, batch.first, "submitted", after))
            record_sent(run, sent[-1])
            say(f"{batch.name}: job {job}" + (f", {len(want.members)} members" if want.members else ""))
    except BaseException as error:
        taken = [line.job for line in sent]
        if stamp and not isinstance(error, StairError):  # what sbatch was about to send may be a job by now
            last = stamped_jobs(stamp, plan.slurm_conf)
            if last is None:
                say(f"slurmctld does not answer: look for '{stamp}' in squeue --me -o '%F %k'")
            taken += [job for job in last or [] if job not in taken]
        if taken:
            heard = scancel(taken, cluster_environment(os.environ, plan.slurm_conf))
            say(f"cancelled again: {', '.join(taken)}" if heard else f"left: scancel {' '.join(taken)}")
        if isinstance(error, StairError):
            kind = type(error)
            raise kind(f"batch {wanted[len(sent)].batch.name}: {error.what}", hint=error.hint) from None
        raise
    return sent
