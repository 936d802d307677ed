"""A RunStatus as lines for people, and as plain values for programs. Pure.

The lines carry a style each (empty, `good`, `bad`, `dim`), so that the same ones go to a terminal, to a log
and into a test.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from stair.cluster.ledger import Attempt
from stair.report.progress import span
from stair.report.status import RunStatus, StepStatus

SCHEMA = 1
"""Of the JSON; grows when a key changes its meaning or goes away."""
Line = tuple[str, str]
"""Text and style."""
STYLES = {"done": "good", "failed": "bad", "blocked": "bad", "waiting": "dim", "unsent": "dim"}
SHOWN_ATTEMPTS = 6


def as_lines(status: RunStatus) -> list[Line]:
    """The whole status."""
    return list(_lines(status))


def step_line(step: StepStatus) -> str:
    """What there is to say of a step in one line."""
    words = step.words
    if step.progress is not None and step.state not in ("waiting", "unsent"):
        words = f"{words} · {step.progress.in_words(running=step.state == 'running')}"
    return words


def _lines(status: RunStatus) -> Iterator[Line]:
    run = status.run
    yield f"{run.recipe} on {run.cluster} ({run.executor}) · {run.path}", ""
    if status.silence:
        heard = f"{span(status.time - status.newest)} old" if status.newest else "nothing yet"
        yield f"{status.silence}; this is what the run folder knows, its newest word is {heard}", "bad"
    if status.cancelled:
        yield status.cancelled, "bad"
    width = max((len(step.name) for step in status.steps), default=0)
    for step in status.steps:
        yield f"  {step.name:<{width}}  {step_line(step)}", STYLES.get(step.state, "")
        yield from _details(step, " " * (width + 4))


def _details(step: StepStatus, indent: str) -> Iterator[Line]:
    if step.cure and step.state != "done":
        yield f"{indent}try: {step.cure}", ""
    attempts = step.attempts if len(step.attempts) > 1 or step.state == "failed" else ()
    if len(attempts) > SHOWN_ATTEMPTS:
        yield f"{indent}… {len(attempts) - SHOWN_ATTEMPTS} attempts before", "dim"
    for number, attempt in list(enumerate(attempts, 1))[-SHOWN_ATTEMPTS:]:
        alive = number == len(attempts) and step.state == "running"
        yield f"{indent}attempt {number}: {attempt_words(attempt, alive=alive)}", "dim"
    for failure in step.failures:
        job = f" (job {failure.job})" if failure.job else ""
        yield f"{indent}member {failure.member}{job}: {failure.standing.words}", "bad"
    if step.tail:
        yield f"{indent}the end of {step.log}:", "dim"
        for line in step.tail:
            yield f"{indent}│ {line}", ""


def attempt_words(attempt: Attempt, *, alive: bool) -> str:
    """`job 12 on n1,n2: checkpointed after 30 min, the time limit was near; requeued`."""
    restart = f", restart {attempt.restart}" if attempt.restart else ""
    where = f"job {attempt.job}{restart} on {','.join(attempt.nodes) or 'its node'}"
    if attempt.ended is None:
        return f"{where}: {'at work' if alive else 'ended without a word'}"
    words = f"{attempt.verdict} after {span(attempt.ended - attempt.started)}"
    return (
        f"{where}: {'; '.join(word for word in (words, attempt.why, _found(attempt), attempt.next) if word)}"
    )


def _found(attempt: Attempt) -> str:
    """What else the doctor found on the nodes of an attempt that failed, by id."""
    if attempt.verdict not in ("fatal", "retryable"):
        return ""
    others = [id for id in attempt.findings if f"[{id}]" not in attempt.why]
    return f"the doctor also found {', '.join(others)}" if others else ""


def as_json(status: RunStatus) -> dict[str, Any]:
    """The status as plain values. Times are seconds since 1970; what is not known is null or empty."""
    run = status.run
    return {
        "schema": SCHEMA,
        "run": str(run.path),
        "recipe": run.recipe,
        "cluster": run.cluster,
        "executor": run.executor,
        "state": status.state,
        "over": status.over,
        "time": status.time,
        "slurm_silent": status.silence,
        "newest": status.newest or None,
        "cancelled": status.cancelled,
        "steps": [_step(step) for step in status.steps],
    }


def _step(step: StepStatus) -> dict[str, Any]:
    return {
        "name": step.name,
        "kind": step.kind,
        "state": step.state,
        "words": step.words,
        "try": step.cure,
        "jobs": list(step.jobs),
        "attempts": [asdict(attempt) for attempt in step.attempts],
        "members": None if step.members is None else {"of": step.of, **step.members},
        "failures": [
            {"member": failure.member, "job": failure.job, **asdict(failure.standing)}
            for failure in step.failures
        ],
        "progress": None if step.progress is None else asdict(step.progress),
        "log": step.log,
        "tail": list(step.tail),
    }


def clock(seconds: float) -> str:
    """The time of day."""
    return time.strftime("%H:%M:%S", time.localtime(seconds))
