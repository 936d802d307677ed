"""How one job stands, whether it is a whole step or one member of an array. Pure.

Takes what the folder says (attempts, marker), what Slurm says (a JobState, or nothing) and hands on a
Standing: a state, words for people, a cure. The order of belief: a done marker; Slurm as long as the job
lives; then the end line of its last attempt; then what Slurm remembers. The surprise: an attempt without an
end line whose job is gone was lost, most likely with its node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from stair.cluster.jobstate import JobState
from stair.cluster.ledger import Attempt
from stair.cluster.pending import explain
from stair.report.progress import span

State = Literal[
    "done",
    "running",
    "pending",
    "waiting",
    "failed",
    "blocked",
    "stopped",
    "cancelled",
    "unsent",
    "unknown",
]
"""pending: Slurm has not started it; waiting: for another step; blocked: it will never start; stopped: it
saved itself and nothing follows; unknown: Slurm does not answer, and the folder cannot tell."""

AGAIN = "repeat the submission: it goes on where it stopped"
CURED = "read the log; once it is cured, repeat the submission: it goes on where it stopped"
CAUSES = {
    "timeout": "its time limit",
    "preemption": "a preemption",
    "node": "a lost node",
    "crash": "a crash",
}
RUNS = {"TIMEOUT": CAUSES["timeout"], "PREEMPTED": CAUSES["preemption"], "NODE_FAIL": CAUSES["node"]}
"""How Slurm says that an earlier run of a job ended, as causes."""


@dataclass(frozen=True)
class Standing:
    """How a job stands."""

    state: State
    words: str
    cure: str = ""
    log: str = ""
    """Of the process that failed first."""
    nodes: str = ""
    reason: str = ""
    """Slurm's own code, while it waits."""


def judge_job(
    job: str,
    state: JobState | None,
    attempts: Sequence[Attempt],
    *,
    now: float,
    heard: bool,
    waits_for: Sequence[str] = (),
) -> Standing:
    """How a job that has no done marker stands.

    `state` is Slurm's word (None: it does not know the job), `heard` whether Slurm answered at all,
    `attempts` all of the step or member, of this and earlier jobs; `waits_for` names the steps before it.
    """
    mine = [attempt for attempt in attempts if attempt.job == job]
    last = mine[-1] if mine else None
    if state is not None and state.waiting:
        return _waiting(job, state, attempts, now, waits_for)
    if state is not None and state.holding:
        return _holding(state, last, now)
    if last is not None and last.ended is not None:
        return _ended(last, heard)
    if not heard:
        if last is None:
            return Standing("unknown", f"sent as job {job}; Slurm does not answer")
        ago = span(now - last.started)
        words = f"began on {_nodes(last)} {ago} ago; Slurm does not answer"
        return Standing("unknown", words, nodes=_nodes(last))
    if state is not None and state.state == "CANCELLED" and state.reason == "DependencyNeverSatisfied":
        names = " and ".join(waits_for) or "what it waited for"
        return Standing("blocked", f"never started: {names} has not ended well", AGAIN, reason=state.reason)
    return _gone(job, state, last)


def _waiting(
    job: str, state: JobState, attempts: Sequence[Attempt], now: float, waits_for: Sequence[str]
) -> Standing:
    if state.reason == "Dependency":
        names = " and ".join(waits_for) or "another job"
        return Standing("waiting", f"waiting for {names}", reason=state.reason)
    why = explain(state.reason, job)
    if state.reason == "DependencyNeverSatisfied":
        names = f" ({' or '.join(waits_for)})" if waits_for else ""
        return Standing("blocked", f"blocked: {why.means}{names}", why.cure, reason=state.reason)
    before = ""
    last = attempts[-1] if attempts else None
    if last is not None and last.cause:
        before = f"goes on after {CAUSES[last.cause]}; "
    elif state.history and state.history[-1].state in RUNS:
        before = f"goes on after {RUNS[state.history[-1].state]}; "
    soon = ""
    if state.start is not None and state.start > now:
        soon = f" (start expected in {span(state.start - now)})"
    return Standing("pending", f"{before}pending: {why.means}{soon}", why.cure, reason=state.reason)


def _holding(state: JobState, last: Attempt | None, now: float) -> Standing:
    where = state.nodes or "its nodes"
    lasted = f" for {span(now - state.start)}" if state.start is not None else ""
    words = {
        "COMPLETING": f"ending on {where}",
        "CONFIGURING": f"{where} booting for it{lasted}",
        "POWER_UP_NODE": f"{where} booting for it{lasted}",
        "SUSPENDED": f"suspended on {where}",
        "STOPPED": f"suspended on {where}",
    }.get(state.state)
    if words is None and (last is None or last.restart < state.restarts):
        words = f"starting on {where}{lasted}"
    elif words is None and last is not None and last.ended is not None:
        words = f"ending on {where}"
    return Standing("running", words or f"running on {where}{lasted}", nodes=state.nodes)


def _ended(last: Attempt, heard: bool) -> Standing:
    """The supervisor's own end line, and nothing alive has taken over since."""
    why = last.why or str(last.verdict)
    if last.verdict == "done":
        words = "its last attempt finished, but left no done marker"
        return Standing("failed", words, AGAIN, log=last.log)
    if last.verdict == "cancelled":
        return Standing("cancelled", why, AGAIN, log=last.log)
    if last.verdict == "fatal":
        return Standing("failed", f"failed: {why}", last.hint or CURED, log=last.log)
    if last.next == "requeued" or last.next.startswith("sent again"):
        if not heard:
            return Standing("unknown", f"{why}; {last.next}; Slurm does not answer", nodes=_nodes(last))
        return Standing("failed", f"{why}; {last.next}, but Slurm no longer has the job", AGAIN, log=last.log)
    words = f"{why}; {last.next}" if last.next else why
    state: State = "stopped" if last.verdict == "checkpointed" else "failed"
    return Standing(state, f"{state}: {words}", last.hint or AGAIN, log=last.log)


def _gone(job: str, state: JobState | None, last: Attempt | None) -> Standing:
    """The job is over, and its supervisor, if it ever began, left no end line."""
    where = _nodes(last) if last is not None else (state.nodes if state is not None else "")
    log = last.log if last is not None else ""
    said = state.state if state is not None else "UNKNOWN"
    if said == "CANCELLED":
        before = "" if last is not None else " before it started"
        return Standing("cancelled", f"cancelled{before}, with scancel or by an administrator", AGAIN, log)
    words = {
        "NODE_FAIL": f"lost with a node ({where})" if where else "lost with a node",
        "TIMEOUT": "ended at its time limit before it had saved itself",
        "PREEMPTED": "preempted before it had saved itself, and not requeued",
        "OUT_OF_MEMORY": "killed: it used more memory than it had asked for",
        "BOOT_FAIL": "its nodes did not boot",
        "DEADLINE": "it could not meet its deadline",
    }.get(said)
    cure = "resources.mem_gb, then repeat the submission" if said == "OUT_OF_MEMORY" else AGAIN
    if words is None and state is not None and said in ("FAILED", "COMPLETED"):
        how = f"signal {state.signal}" if state.signal else f"exit {state.exit_code}"
        began = "without a word" if last is not None else "before its supervisor began"
        words = f"job {job} ended {began} ({how})"
    if words is None and last is not None:
        words = f"lost: job {job} is gone and left no end line; most likely its node ({where}) failed"
    words = words or f"job {job} is gone, and nothing of it ever started"
    return Standing("failed", f"failed: {words}", cure, log, nodes=where)


def _nodes(attempt: Attempt) -> str:
    return ",".join(attempt.nodes)
