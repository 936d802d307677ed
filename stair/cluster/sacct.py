"""What sacct says, as JobStates with the history of every job.

sacct knows what squeue has forgotten, and every run of a requeued job; it learns of things seconds later.
With `--duplicates` each run is a line of its own, and the last one by the time of its submission (a requeue
submits again) is the job as it stands. Pure: nothing is started here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from stair.cluster.jobstate import (
    JobState,
    Run,
    places,
    split_id,
)
from stair.cluster.squeue import BETWEEN, shared_facts

COLUMNS = (
    *("JobID", "State", "NodeList", "Start", "End", "Eligible", "Submit", "ExitCode", "Timelimit", "Reason"),
)
REUSED_S = 86400.0
"""Lines submitted this much before we sent anything are of another job that once had the same id."""


def sacct_words(jobs: list[str]) -> list[str]:
    """The command: whole jobs only (their steps are ours to know), every run of them."""
    return [
        *("sacct", "--noheader", "--duplicates", "--allocations", "--parsable2", f"--delimiter={BETWEEN}"),
        *(f"--jobs={','.join(jobs)}", f"--format={','.join(COLUMNS)}"),
    ]


def read_sacct(text: str, since: float = 0.0) -> dict[str, JobState]:
    """The jobs of our columns by their id, with history. `since`: when the first of them was sent.

    Raises ValueError for a line that is something else.
    """
    runs: list[JobState] = []
    for line in text.split("\n"):
        if not line.strip():
            continue
        parts = line.split(BETWEEN)
        if len(parts) < len(COLUMNS):
            raise ValueError(f"not a line of sacct in our columns: {line[:80]!r}")
        name, *rest_of_line = parts[: len(COLUMNS)]
        facts = shared_facts(*rest_of_line)
        runs += [
            JobState(id=id, index=index, rest=rest, **facts) for id, index, rest in places(*split_id(name))
        ]
    return join_runs(runs, since)


def join_runs(runs: Iterable[JobState], since: float = 0.0) -> dict[str, JobState]:
    """One state per job: its newest run, with the ones before as history."""
    by_id: dict[str, list[JobState]] = {}
    for run in runs:
        if run.submitted is None or run.submitted >= since - REUSED_S:
            by_id.setdefault(run.id, []).append(run)
    return {id: _joined(lines) for id, lines in by_id.items()}


def _joined(lines: list[JobState]) -> JobState:
    if len(lines) == 1:
        return lines[0]
    *before, last = sorted(lines, key=lambda line: (line.submitted or 0.0, line.start or float("inf")))
    ran = tuple(as_run(line) for line in before if line.nodes)
    return replace(last, history=ran, restarts=max(last.restarts, len(ran)))


def as_run(state: JobState) -> Run:
    """A job's present run, as it will stand in its history."""
    return Run(state.state, state.nodes, state.start, state.end, state.exit_code, state.signal)
