"""How a run stands: evidence and Slurm's word become a RunStatus. Pure.

Takes the folder's Evidence, the jobs as Slurm has them (None: it does not answer) and the time, hands on
one StepStatus per step of the plan. A job that was sent again replaces the one before; of an array the
members are counted, and only the first that failed are told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from stair.cluster.jobs import latest_jobs, state_of
from stair.cluster.jobstate import JobState
from stair.cluster.ledger import Attempt, Sent
from stair.cluster.pending import explain
from stair.errors import COULD_NOT_CHECK, FAILED, FINE
from stair.report.facts import Evidence, RunFacts, StepFacts
from stair.report.progress import Progress, span
from stair.report.standing import AGAIN, Standing, State, judge_job

ALIVE: tuple[State, ...] = ("running", "pending", "waiting")
ORDER: tuple[State, ...] = (
    "running",
    "pending",
    "waiting",
    "unknown",
    "failed",
    "blocked",
    "stopped",
    "cancelled",
    "unsent",
    "done",
)
"""Of the states of many, the first of these that occurs is the state of all."""
TOLD = 10
"""Failed members that are told one by one."""


@dataclass(frozen=True)
class MemberStatus:
    """One member of an array that did not end well."""

    member: int
    job: str
    standing: Standing


@dataclass(frozen=True)
class StepStatus:
    """How a step stands."""

    name: str
    kind: str
    state: State
    words: str
    cure: str = ""
    jobs: tuple[str, ...] = ()
    """Slurm's ids of its present jobs, without members."""
    attempts: tuple[Attempt, ...] = ()
    """Oldest first; of an array none."""
    members: Mapping[str, int] | None = None
    """Of an array: how many members are in which state."""
    of: int = 1
    failures: tuple[MemberStatus, ...] = ()
    progress: Progress | None = None
    log: str = ""
    tail: tuple[str, ...] = ()
    """The end of the log of what failed first; filled in by tail.py."""


@dataclass(frozen=True)
class RunStatus:
    """How a run stands."""

    run: RunFacts
    steps: tuple[StepStatus, ...]
    time: float
    """Of the judgement, in seconds since 1970."""
    silence: str = ""
    """Why Slurm could not be asked; empty when it answered, or need not be asked."""
    newest: float = 0.0
    """When the folder last learned anything."""
    cancelled: str = ""

    @property
    def state(self) -> State:
        """The state of the whole."""
        return most_telling({step.state for step in self.steps})

    @property
    def over(self) -> bool:
        """Whether nothing more will happen by itself."""
        return not any(step.state in (*ALIVE, "unknown") for step in self.steps)

    @property
    def exit_code(self) -> int:
        """1 if anything failed, 3 if Slurm could not be asked and it matters, else 0."""
        troubled = ("failed", "blocked", "stopped", "cancelled")
        if any(step.state in troubled or step.failures for step in self.steps):
            return FAILED
        return COULD_NOT_CHECK if any(step.state == "unknown" for step in self.steps) else FINE


def most_telling(states: Collection[State]) -> State:
    """The state of a whole, from those of its parts."""
    for state in ORDER:
        if state in states:
            return state
    return "unsent"


def judge(
    evidence: Evidence, jobs: Mapping[str, JobState] | None, now: float, *, silence: str = ""
) -> RunStatus:
    """The status of a run on Slurm. `jobs` is None when Slurm does not answer; `silence` says why."""
    steps = [_judge_step(step, evidence, jobs, now) for step in evidence.run.steps]
    return RunStatus(
        evidence.run, _with_blocked(evidence, steps), now, silence, evidence.newest, in_words(evidence)
    )


def in_words(evidence: Evidence) -> str:
    """`cancelled by ann at …`, or nothing."""
    found = evidence.cancelled
    return f"cancelled by {found.who}{f' at {found.when}' if found.when else ''}" if found else ""


def _judge_step(
    step: StepFacts, evidence: Evidence, jobs: Mapping[str, JobState] | None, now: float
) -> StepStatus:
    holders = latest_jobs(evidence.sent, step.name)
    progress = evidence.progress.get(step.name)
    waits_for = _waits_for(step, holders, evidence.sent)
    if step.is_array:
        return replace(_judge_array(step, evidence, holders, jobs, now, waits_for), progress=progress)
    attempts = tuple(evidence.attempts.get((step.name, None), ()))
    if evidence.is_finished(step):
        seconds = evidence.done[step.name][None]
        standing = Standing("done", f"done in {span(seconds)}" if seconds else "done")
    else:
        standing = _judge_one(step, None, evidence, holders, jobs, now, waits_for)
    return StepStatus(
        step.name,
        step.kind,
        standing.state,
        standing.words,
        standing.cure,
        jobs=tuple(holders.values()),
        attempts=attempts,
        progress=progress,
        log=standing.log,
    )


def _judge_one(
    step: StepFacts,
    member: int | None,
    evidence: Evidence,
    holders: Mapping[int | None, str],
    jobs: Mapping[str, JobState] | None,
    now: float,
    waits_for: Sequence[str],
) -> Standing:
    job = holders.get(member)
    if job is None:
        unsent = Standing("unsent", "not sent yet", AGAIN)
        return _cancelled(evidence) or unsent
    attempts = evidence.attempts.get((step.name, member), ())
    standing = judge_job(
        job,
        None if jobs is None else state_of(jobs, job),
        attempts,
        now=now,
        heard=jobs is not None,
        waits_for=waits_for,
    )
    if standing.state in (*ALIVE, "blocked") or any(attempt.verdict == "fatal" for attempt in attempts[-1:]):
        return standing  # what is alive is not yet cancelled, and what had failed before was not ended by it
    return _cancelled(evidence) or standing


def _cancelled(evidence: Evidence) -> Standing | None:
    return Standing("cancelled", in_words(evidence), AGAIN) if evidence.cancelled else None


def _judge_array(
    step: StepFacts,
    evidence: Evidence,
    holders: Mapping[int | None, str],
    jobs: Mapping[str, JobState] | None,
    now: float,
    waits_for: Sequence[str],
) -> StepStatus:
    counts: Counter[State] = Counter()
    reasons: Counter[str] = Counter()
    failures: list[MemberStatus] = []
    unlike: Standing | None = None
    done = evidence.done.get(step.name, {})
    for member in range(step.members):
        if member in done:
            counts["done"] += 1
            continue
        standing = _judge_one(step, member, evidence, holders, jobs, now, waits_for)
        counts[standing.state] += 1
        if standing.reason:
            reasons[standing.reason] += 1
        if standing.state in ("failed", "stopped") and len(failures) < TOLD:
            failures.append(MemberStatus(member, holders.get(member, ""), standing))
        if unlike is None or ORDER.index(standing.state) < ORDER.index(unlike.state):
            unlike = standing
    state = most_telling(counts)
    told = [f"{counts[name]} {name}" for name in (ORDER[-1], *ORDER[:-1]) if counts[name]]
    words = f"{', '.join(told)} of {step.members}"
    cure = unlike.cure if unlike is not None else ""
    if state == "waiting" or (state == "blocked" and unlike is not None):
        words = f"{unlike.words if unlike else ''} ({words})"
    elif reasons and counts["pending"]:
        reason = reasons.most_common(1)[0][0]
        words = f"{words}; pending: {explain(reason).means}"
        cure = "" if reason == "JobArrayTaskLimit" or counts["running"] else cure
    return StepStatus(
        step.name,
        step.kind,
        state,
        words,
        AGAIN if counts["failed"] and state == "failed" else cure,
        jobs=tuple(dict.fromkeys(job.partition("_")[0] for job in holders.values())),
        members={name: counts[name] for name in ORDER if counts[name]},
        of=step.members,
        failures=tuple(failures),
        log=failures[0].standing.log if failures else "",
    )


def _waits_for(step: StepFacts, holders: Mapping[int | None, str], sent: Sequence[Sent]) -> list[str]:
    """The names of what a step's present job waits for: by its last line in the ledger, else by the plan."""
    mine = {job.partition("_")[0] for job in holders.values()}
    steps = {line.job: line.step for line in sent}
    after = [line.after for line in sent if line.job in mine]
    names = [steps[job] for job in (after[-1] if after else ()) if job in steps]
    named = ["its former attempt to end" if name == step.name else name for name in names]
    return list(dict.fromkeys(named)) or list(step.needs)


def _with_blocked(evidence: Evidence, steps: Sequence[StepStatus]) -> tuple[StepStatus, ...]:
    """Steps that never began, behind one that failed, say so: Slurm may have forgotten why."""
    bad: set[str] = set()
    found: list[StepStatus] = []
    for facts, status in zip(evidence.run.steps, steps, strict=True):
        behind = [name for name in facts.needs if name in bad]
        began = evidence.done.get(facts.name) or any(name == facts.name for name, _ in evidence.attempts)
        if status.state == "unsent" and behind:
            status = replace(status, state="blocked", words=f"not sent: {behind[0]} has not ended well")
        elif status.state == "failed" and behind and not began:
            words = f"never started: {behind[0]} has not ended well"
            status = replace(status, state="blocked", words=words, failures=())
        if status.state in ("failed", "blocked", "cancelled", "stopped"):
            bad.add(facts.name)
        found.append(status)
    return tuple(found)
