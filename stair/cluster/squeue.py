"""What squeue says, as JobStates: its text in our own columns, and its JSON.

The text is what we ask for. The JSON is read too, for a squeue that does not know the columns; it is not the
first choice, because Slurm 22.05 ignores `--jobs` in it and sends the whole cluster's queue (measured: 3.7 kB
a job). Pure: nothing is started here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from stair.cluster.jobstate import (
    JobState,
    duration_s,
    exit_status,
    moment,
    normal_state,
    number,
    places,
    split_id,
)

BETWEEN = "\x1f"
"""Stands between columns: the unit separator, which no reason and no dependency contains."""
COLUMNS = (
    *("JobArrayID", "State", "NodeList", "StartTime", "EndTime", "EligibleTime", "exit_code"),
    *("RestartCnt", "TimeLimit", "Dependency", "SubmitTime", "Reason"),
)
"""Of `squeue --Format`; a suffix without a width is neither padded nor cut (22.05 to 25.05)."""


def squeue_words(jobs: list[str]) -> list[str]:
    """The command. `--states=all` shows ended jobs too, as long as slurmctld remembers them (MinJobAge)."""
    columns = ",".join(f"{column}:{BETWEEN}" for column in COLUMNS)
    asked = f"--jobs={','.join(jobs)}"
    return ["squeue", "--noheader", "--all", "--states=all", asked, f"--Format={columns}"]


def squeue_json_words(jobs: list[str]) -> list[str]:
    """The command for a squeue without our columns."""
    return ["squeue", "--json", f"--jobs={','.join(jobs)}"]


def read_squeue(text: str) -> dict[str, JobState]:
    """The jobs of our columns by their id. Raises ValueError for a line that is something else."""
    states: dict[str, JobState] = {}
    for line in text.split("\n"):
        if line.strip():
            states.update((state.id, state) for state in _read_line(line))
    return states


def _read_line(line: str) -> Iterator[JobState]:
    parts = line.split(BETWEEN)
    if len(parts) < len(COLUMNS) or not parts[0].strip():
        raise ValueError(f"not a line of squeue in our columns: {line[:80]!r}")
    name, state, nodes, start, end, eligible, status, restarts, limit, dependency, submitted, reason = (
        part.strip() for part in parts[: len(COLUMNS)]
    )
    facts = {
        **shared_facts(state, nodes, start, end, eligible, submitted, status, limit, reason),
        "restarts": int(number(restarts) or 0),
        "dependency": plain(dependency),
    }
    for id, index, rest in places(*split_id(name)):  # thousands, for an array that waits
        yield JobState(id=id, index=index, rest=rest, **facts)


def shared_facts(
    state: str,
    nodes: str,
    start: str,
    end: str,
    eligible: str,
    submitted: str,
    status: str,
    limit: str,
    reason: str,
) -> dict[str, Any]:
    """The columns that squeue and sacct have alike, as JobState has them."""
    code, signal = exit_status(status)
    return {
        "state": normal_state(state),
        "reason": plain(reason),
        "nodes": plain(nodes),
        "start": moment(start),
        "end": moment(end),
        "eligible": moment(eligible),
        "submitted": moment(submitted),
        "exit_code": code,
        "signal": signal,
        "time_limit_s": duration_s(limit),
    }


def read_squeue_json(text: str, jobs: list[str]) -> dict[str, JobState]:
    """The asked-for jobs of `squeue --json`, 22.05 to 25.05, by their id. Raises ValueError for no JSON."""
    tree = json.loads(text)
    listed = tree.get("jobs") if isinstance(tree, dict) else None
    if not isinstance(listed, list):
        raise ValueError("no list of jobs in squeue's JSON")
    wanted = set(jobs)
    states: dict[str, JobState] = {}
    for job in listed:
        name = _name(job)
        if split_id(name)[0] in wanted:
            states.update((state.id, state) for state in _read_job(job, name))
    return states


def _name(job: Mapping[str, Any]) -> str:
    """12, 12_3 or 12_[ranges]. A job that is in no array has array 0, and an index that is not set."""
    array = int(number(job.get("array_job_id")) or 0)
    if not array:
        return str(int(number(job.get("job_id")) or 0))
    index = number(job.get("array_task_id"))
    if index is not None:
        return f"{array}_{int(index)}"
    ranges = job.get("array_task_string") or ""
    return f"{array}_[{ranges}]" if ranges else str(array)


def _read_job(job: Mapping[str, Any], name: str) -> Iterator[JobState]:
    code, signal = exit_status(job.get("exit_code"))
    minutes = number(job.get("time_limit"))
    said = job.get("state_description") or job.get("state_reason") or ""
    for id, index, rest in places(*split_id(name)):
        yield JobState(
            id=id,
            index=index,
            state=normal_state(job.get("job_state")),
            reason=plain(str(said)),
            nodes=plain(str(job.get("nodes") or "")),
            start=moment(job.get("start_time")),
            end=moment(job.get("end_time")),
            eligible=moment(job.get("eligible_time")),
            submitted=moment(job.get("submit_time")),
            exit_code=code,
            signal=signal,
            restarts=int(number(job.get("restart_cnt")) or 0),
            time_limit_s=None if minutes is None else 60 * minutes,
            dependency=plain(str(job.get("dependency") or "")),
            rest=rest,
        )


def plain(said: str) -> str:
    """Without Slurm's words for nothing."""
    return "" if said in ("None", "(null)", "N/A", "None assigned", "NONE") else said
