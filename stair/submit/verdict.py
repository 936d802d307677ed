"""How the endings of a step's nodes become one verdict, and the verdict what is done next. Pure.

Takes what every node said (or did not say), how the supervisor was warned and what came before, hands on a
Decision. Three budgets are kept apart, because a time limit is planned, a preemption is the cluster's
business, and a lost node is bad luck: none of them may use up another's patience.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from stair.cluster.ledger import Attempt, Cause, Verdict
from stair.frozen import frozen
from stair.submit.plan import Budgets

Again = Literal["no", "requeue", "resubmit"]
LOST_PEER = 76
"""Exit code of a training that met nothing wrong but the silence of another process (stair.train)."""


@frozen
class Ending:
    """How a step ended on one node, or as a whole."""

    verdict: Verdict
    cause: Cause = ""
    why: str = ""
    hint: str = ""
    log: str = ""
    """The log of the process that failed first."""
    code: int = 0
    """Of the process that failed first; negative for the signal that killed it."""
    node: str = ""
    time: float = 0.0
    """When its first process ended, in seconds since 1970."""
    findings: tuple[str, ...] = ()
    """Ids of what the doctor found on its nodes, errors and warnings."""


@frozen
class Decision:
    """What becomes of an attempt."""

    ending: Ending
    again: Again = "no"
    exclude: tuple[str, ...] = ()
    """Nodes that the next attempt shall not use."""
    why_not: str = ""
    """Why there is no next attempt although it might have helped."""


NAMES: dict[Cause, str] = {
    "timeout": "time limits",
    "preemption": "preemptions",
    "node": "lost or unfit nodes",
    "crash": "killed processes",
}
KEYS: dict[Cause, str] = {
    "timeout": "max_timeouts",
    "preemption": "max_preemptions",
    "node": "max_node_failures",
    "crash": "max_crashes",
}


def join_endings(endings: Sequence[Ending | None], nodes: Sequence[str], *, warned: Cause = "") -> Ending:
    """One ending for the step. `endings` are by node, None for a node that left no word; `warned` is what
    the supervisor was told by signal, if anything.

    The root cause wins over its consequences: an explained error, then an unfit node, then a killed process,
    then a node without a word, then those who only lost their peers; among equals the first in time. A node
    without a word counts that late because srun kills the others as soon as one of them fails.
    """
    said = [ending for ending in endings if ending is not None]
    silent = [node for node, ending in zip(nodes, endings, strict=True) if ending is None]
    fatal = sorted((e for e in said if e.verdict == "fatal"), key=lambda e: e.time)
    if fatal:
        return fatal[0]
    broken = sorted((e for e in said if e.verdict == "retryable"), key=_rank)
    if broken and (_rank(broken[0]) < PEERLESS or not silent):
        return broken[0]
    if len(silent) == len(nodes) and not warned:
        return Ending(
            "retryable", "node", "it ended on all nodes without a word"
        )  # none is to blame for that
    if silent and not warned:
        return Ending("retryable", "node", f"nothing was heard of {', '.join(silent)}", node=silent[0])
    if silent:
        return Ending("retryable", warned, f"ended before {', '.join(silent)} had saved itself")
    if all(ending.verdict == "done" for ending in said):
        return Ending("done")
    cause: Cause = warned or "preemption"
    return Ending("checkpointed", cause, WARNED[cause])


PEERLESS = (2,)
"""The rank of endings that are consequences only."""


def _rank(ending: Ending) -> tuple[float, ...]:
    """What is more likely a cause comes first."""
    if ending.cause == "node":
        return (0, ending.time)
    return (*PEERLESS, ending.time) if ending.code == LOST_PEER else (1, ending.time)


WARNED: dict[Cause, str] = {
    "timeout": "the time limit was near; it saved itself and left",
    "preemption": "it was told to make room; it saved itself and left",
}


ENDED: dict[Cause, str] = {
    "timeout": "its time limit ended it before it had saved itself",
    "preemption": "it made room for others before it had saved itself",
    "node": "a node of it was lost",
}


def with_fate(ending: Ending, cause: Cause, lost: Sequence[str] = ()) -> Ending:
    """The ending of an attempt that Slurm itself was about to end for `cause`, or because nodes were `lost`:
    whatever its processes died of is a consequence. What is done, or explained itself, stays as it is."""
    if not cause or ending.verdict in ("done", "fatal", "cancelled"):
        return ending
    why = WARNED.get(cause) if ending.verdict == "checkpointed" else ENDED.get(cause)
    why = f"Slurm has given up {', '.join(lost)}" if lost else why
    return replace(ending, cause=cause, why=why or ending.why, node="")


def decide(ending: Ending, earlier: Sequence[Attempt], budgets: Budgets, *, cancelled: bool) -> Decision:
    """What is done about an ending, given the earlier attempts of the same step or member.

    A requeue keeps the job's id; whoever needs other nodes must be sent again, since Slurm lets nobody
    change the excluded nodes of a running job.
    """
    if cancelled and ending.verdict != "done":
        return Decision(Ending("cancelled", why="cancelled by a person", log=ending.log))
    if ending.verdict in ("done", "fatal", "cancelled") or not ending.cause:
        return Decision(ending)
    used = 1 + sum(attempt.cause == ending.cause for attempt in earlier)
    allowed: int = getattr(budgets, ending.cause)
    if used > allowed:
        why = f"{used} {NAMES[ending.cause]}, {allowed} allowed (slurm.{KEYS[ending.cause]})"
        return Decision(ending, why_not=why)
    bad = bad_nodes(ending, earlier)
    return Decision(ending, "resubmit" if bad else "requeue", bad)


def bad_nodes(ending: Ending, earlier: Sequence[Attempt]) -> tuple[str, ...]:
    """The nodes that were at fault, now and before. Slurm itself avoids a lost one, but only while it is
    down; an unfit one it would give out again at once."""
    if ending.cause != "node" or not ending.node:
        return ()
    before = [node for attempt in earlier for node in attempt.unfit]
    return tuple(dict.fromkeys([*before, ending.node]))


def lost(attempt: Attempt, now: float) -> Attempt:
    """The end line of an attempt that could not write one."""
    why = "it ended without a word: its node was lost, or the job was killed at once"
    return replace(attempt, ended=now, verdict="retryable", cause="node", why=why)
