"""The next attempt of a step: a requeue of its job, or another sbatch in its place.

Takes a Decision, acts through scontrol and sbatch on the node where the supervisor sits, hands on what was
done in words. A requeue keeps the job's id and with it everything that waits for it. Where Slurm refuses
one (JobRequeue=0, a job already on its way out, other nodes wanted) the batch is sent again, and those who
wait for the old job are told to wait for the new one, before the old one ends. The surprise: a person may
cancel the run meanwhile, and sees only the jobs that there were; so that is looked for once more at the end.
"""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from stair.cluster.ledger import Sent, read_sent, record_sent
from stair.console import say
from stair.errors import FAILED, FINE, StairError
from stair.rundir import RunDir
from stair.submit.answers import AWAY
from stair.submit.claim import is_cancelled
from stair.submit.fate import ask_fate
from stair.submit.patience import PATIENCE_S, patiently
from stair.submit.plan import Batch, Plan, Step
from stair.submit.script import read_options
from stair.submit.seat import Seat
from stair.submit.verdict import Decision

SECONDS = 60.0
SAVED_ITSELF = 75
"""The code of a batch script whose job is requeued or replaced (EX_TEMPFAIL)."""


def again(
    plan: Plan,
    step: Step,
    run: RunDir,
    seat: Seat,
    decision: Decision,
    give_up: Callable[[], bool] = lambda: False,
) -> tuple[int, str]:
    """Arranges the next attempt, patiently while slurmctld is away; `give_up` ends that.

    Returns the batch script's exit code and what was done, in words.
    """
    if decision.again == "requeue":
        refused = requeue(seat, give_up)
        if not refused:
            return _unless_cancelled(run, seat.job, SAVED_ITSELF, "requeued")
        say(f"Slurm does not requeue job {seat.job}: {refused}")
    if give_up():
        return FAILED, "another attempt has taken its place"
    try:
        job = _send_again(plan, step, run, seat, decision)
    except StairError as error:
        return FAILED, f"could not be sent again: {error.what}"
    # A member that ends badly would fail its whole array for those who wait for it.
    code = FINE if seat.index is not None else SAVED_ITSELF
    return _unless_cancelled(run, job, code, f"sent again as {job}")


def _unless_cancelled(run: RunDir, job: str, code: int, what: str) -> tuple[int, str]:
    """What was done, or its end: who cancels a run ends the jobs of the ledger after writing the marker. What
    came later finds the marker here, or at the start of the next attempt."""
    if not is_cancelled(run):
        return code, what
    refused = _slurm(["scancel", job])
    return FAILED, f"{what}, and the run was cancelled" + (f"; scancel {job}: {refused}" if refused else "")


def requeue(seat: Seat, give_up: Callable[[], bool]) -> str:
    """Empty when the job is requeued, by this call or before; else why Slurm refuses."""

    def ask() -> str:
        refused = _slurm(["scontrol", "requeue", seat.job])
        # slurmctld may have heard a request whose answer got lost.
        return "" if refused and ask_fate(seat).requeued else refused

    return patiently(ask, lambda refused: not AWAY.search(refused), give_up=give_up)


def _send_again(plan: Plan, step: Step, run: RunDir, seat: Seat, decision: Decision) -> str:
    from stair.submit.sending import send_batch  # submitit, which most attempts do not need

    batch = _batch_of(plan, step)
    words = [f"--dependency=afterany:{seat.job}"]
    if seat.index is not None:
        words.append(f"--array={seat.index}")
    if decision.exclude:  # said here, it takes the place of the script's own
        own = [value for name, value in read_options(batch.script) if name == "exclude" and value]
        words.append(f"--exclude={','.join([*own, *decision.exclude])}")
    job = send_batch(batch, words, run, slurm_conf=plan.slurm_conf, keep=plan.keep, patience_s=PATIENCE_S)
    members = () if step.member is None else (step.member,)
    why = decision.ending.cause or "again"
    record_sent(
        run, Sent(batch.name, step.name, job, members, batch.first, f"again after {why}", (seat.job,))
    )
    with _alone_in(run):  # members of an array may do the same at this moment
        for waiting in waiting_for(read_sent(run), seat, step.name):
            _move(plan, run, waiting, seat, job)
    return job


def _move(plan: Plan, run: RunDir, waiting: Sent, seat: Seat, job: str) -> None:
    """Has a job that waits for this one wait for `job`; for an array, for `job` as well."""
    others = [other for other in waiting.after if other != _whole(seat) or seat.index is not None]
    after = (*others, job)
    words = ["scontrol", "update", f"JobId={waiting.job}", f"Dependency={dependency(plan, waiting, after)}"]
    refused = patiently(partial(_slurm, words), lambda said: not AWAY.search(said))
    if refused:
        say(f"job {waiting.job} ({waiting.batch}) still waits for {seat.job}: {refused}")
    else:
        record_sent(run, replace(waiting, after=after, why=f"moved to wait for {job}", time=0.0))


@contextmanager
def _alone_in(run: RunDir) -> Iterator[None]:
    with (run.path / "jobs.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def waiting_for(sent: Sequence[Sent], seat: Seat, step: str) -> list[Sent]:
    """The newest lines of the jobs of other steps that wait for this one. Those of its own step take its
    place, and are meant to wait."""
    newest = {line.job: line for line in sent}
    return [line for line in newest.values() if _whole(seat) in line.after and line.step != step]


def dependency(plan: Plan, waiting: Sent, after: Sequence[str]) -> str:
    """The dependency of a batch on jobs, as sbatch and scontrol take it."""
    batch = next(batch for batch in plan.batches if batch.name == waiting.batch)
    return f"{'afterany' if batch.whatever_happens else 'afterok'}:{':'.join(after)}"


def _batch_of(plan: Plan, step: Step) -> Batch:
    for batch in plan.batches:
        inside = step.member is None or batch.first <= step.member < batch.first + batch.count
        if batch.step == step.name and inside:
            return batch
    raise StairError(f"the plan has no batch for {step.name}", hint="submit again")


def _whole(seat: Seat) -> str:
    """The id that others depend on: the array's for a member."""
    return seat.job.partition("_")[0]


def _slurm(words: Sequence[str]) -> str:
    """Runs a command of Slurm's. Empty when it worked, else what it said."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return f"socket timed out: no answer within {SECONDS:.0f} s"
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr or done.stdout).strip() or f"exit {done.returncode}"
