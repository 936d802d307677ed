"""How the jobs of a run stand, by at most two commands whatever their number.

Takes job ids, asks squeue and then sacct, hands on a JobState for every job and array member. The surprise:
sacct lags squeue by seconds, and a requeued job is "ended" there before it is pending again; so squeue is
believed as long as it knows a job, and sacct adds the past.
"""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from stair.cluster.jobstate import UNKNOWN, JobState
from stair.cluster.ledger import Sent
from stair.cluster.sacct import as_run, read_sacct, sacct_words
from stair.cluster.squeue import read_squeue, read_squeue_json, squeue_json_words, squeue_words
from stair.errors import COULD_NOT_CHECK, StairError

SECONDS = 30.0
"""How long one command may take. Where slurmctld is away it gives up by itself, after 10 s by default
(MessageTimeout), and says why: that is worth waiting for on a busy machine too."""
STALE = "accounting has not heard of its end"


class SlurmIsSilent(StairError):
    """squeue gave no answer, so nothing is known about the jobs."""

    exit_code = COULD_NOT_CHECK


def ask_jobs(
    ids: Iterable[str],
    environment: Mapping[str, str],
    *,
    accounting: bool = True,
    since: float = 0.0,
    seconds: float = SECONDS,
) -> dict[str, JobState]:
    """The states of jobs and of all members of arrays among them, by id (12, or 12_3 for a member).

    `ids` are what sbatch said; `environment` is the whole environment of the commands (SLURM_CONF);
    `since` tells when the first was sent, against ids that were used before. A job that nobody knows any
    more is missing from the answer. Raises SlurmIsSilent when slurmctld does not answer; a silent slurmdbd
    only costs the history.
    """
    jobs = sorted({id.partition("_")[0] for id in ids if id}, key=lambda id: (len(id), id))
    if not jobs:
        return {}
    environment = _plain_environment(environment)
    alive = _ask_squeue(jobs, environment, seconds)
    return join(alive, _ask_sacct(jobs, environment, since, seconds) if accounting else {})


def join(alive: Mapping[str, JobState], past: Mapping[str, JobState]) -> dict[str, JobState]:
    """squeue's word where it has one, with the history from sacct; else sacct's."""
    return {
        **{id: _only_past(state, alive) for id, state in past.items() if id not in alive},
        **{id: _with_history(state, past.get(id)) for id, state in alive.items()},
    }


def state_of(states: Mapping[str, JobState], job: str) -> JobState | None:
    """The state of a job, or of a member (`12_3`): its own, or the one of its array's unnamed rest."""
    found = states.get(job)
    array, dash, index = job.partition("_")
    if found is None and dash and (rest := states.get(array)) is not None and rest.rest:
        return replace(rest, id=job, index=int(index), rest=False)
    return None if found is not None and found.rest else found


def latest_jobs(sent: Iterable[Sent], step: str) -> dict[int | None, str]:
    """Which job answers for every member of a step (None: the step itself): the one sent last.

    A job that was told to wait for another one has a second line; it does not become newer by that.
    """
    first: dict[str, Sent] = {}
    for line in sent:
        if line.step == step:
            first.setdefault(line.job, line)
    holders: dict[int | None, str] = {}
    for line in first.values():
        if not line.members:
            holders[None] = line.job
        holders.update((member, f"{line.job}_{member - line.offset}") for member in line.members)
    return holders


def missing_members(
    count: int, sent: Sequence[Sent], step: str, states: Mapping[str, JobState], done: Collection[int]
) -> tuple[int, ...]:
    """Members of a step of `count` that are neither done nor held by a living job: what to send again."""
    holders = latest_jobs(sent, step)
    missing = []
    for member in range(count):
        if member in done:
            continue
        state = state_of(states, holders[member]) if member in holders else None
        if state is None or not state.alive:
            missing.append(member)
    return tuple(missing)


def _only_past(state: JobState, alive: Mapping[str, JobState]) -> JobState:
    """What sacct alone knows. A job alive there that squeue has forgotten has ended somehow."""
    if not state.alive:
        return state
    array = alive.get(state.id.partition("_")[0])
    if array is not None and array.rest:
        return state  # one of those that squeue did not name
    return replace(state, state=UNKNOWN, reason=STALE)


def _with_history(state: JobState, past: JobState | None) -> JobState:
    if past is None:
        return state
    history = past.history
    # sacct's newest line is the present run, unless squeue is already ahead of it by a requeue. Without nodes
    # it never ran: a cancelled job that had not started has a start in squeue and none in sacct.
    older = state.waiting or (past.start or 0.0) < (state.start or 0.0)
    if not past.alive and past.nodes and older:
        history = (*history, as_run(past))
    if not history:
        return state
    return replace(state, history=history, restarts=max(state.restarts, len(history)))


def _ask_squeue(jobs: list[str], environment: Mapping[str, str], seconds: float) -> dict[str, JobState]:
    done = _run(squeue_words(jobs), environment, seconds)
    if done.returncode != 0:
        if "Invalid job id" in done.stderr:  # asked for one job, and it is forgotten
            return {}
        raise _silent(done.stderr)
    try:
        return read_squeue(done.stdout)
    except ValueError:
        pass
    done = _run(squeue_json_words(jobs), environment, seconds)
    try:
        return read_squeue_json(done.stdout, jobs)
    except ValueError as error:
        raise _silent(done.stderr or str(error)) from None


def _ask_sacct(
    jobs: list[str], environment: Mapping[str, str], since: float, seconds: float
) -> dict[str, JobState]:
    try:
        done = _run(sacct_words(jobs), environment, seconds)
        return read_sacct(done.stdout, since) if done.returncode == 0 else {}
    except (SlurmIsSilent, ValueError):
        return {}  # accounting is off, away, or somebody else's program


def _run(
    words: list[str], environment: Mapping[str, str], seconds: float
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise _silent(f"no answer within {seconds:g} s") from None
    except OSError as error:
        raise _silent(f"{words[0]}: {error.strerror}") from None


def _silent(said: str) -> SlurmIsSilent:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    what = lines[-1] if lines else "squeue said nothing"
    return SlurmIsSilent(f"Slurm does not answer: {what}", hint="`scontrol ping` says whether it is up")


def _plain_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Without a person's own formats and filters; times in seconds, array expressions whole."""
    kept = {key: value for key, value in environment.items() if not key.startswith(("SQUEUE_", "SACCT_"))}
    return {**kept, "SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0", "LC_ALL": "C.UTF-8"}
