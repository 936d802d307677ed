"""Runs to report on: plans, ledgers, markers and metrics, written as the other rooms write them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from stair.cluster.jobstate import JobState
from stair.cluster.ledger import Attempt, Sent, record_attempt, record_sent
from stair.report.facts import Evidence, RunFacts, StepFacts
from stair.rundir import RunDir, append_line, write_json

NOW = 10_000.0
CHAIN = (("stage1", "train", ()), ("stage2", "train", ("stage1",)), ("eval", "eval", ("stage2",)))


def facts(*steps: StepFacts, path: Path = Path("/runs/x"), executor: str = "slurm") -> RunFacts:
    steps = steps or tuple(StepFacts(name, kind, path / name, needs) for name, kind, needs in CHAIN)
    return RunFacts(path, "pipeline", "devcluster", executor, steps)


def a_job(id: str, state: str = "RUNNING", reason: str = "", **more: Any) -> JobState:
    index = int(id.partition("_")[2]) if "_" in id else None
    started = {"nodes": "n[1-2]", "start": NOW - 720} if state in ("RUNNING", "COMPLETING") else {}
    return JobState(id, index, state, reason, **(started | more))


def an_attempt(job: str = "12", step: str = "stage1", *, ago: float = 720, **more: Any) -> Attempt:
    member = int(job.partition("_")[2]) if "_" in job else None
    attempt = Attempt(step, member, job, 0, ("n1", "n2"), started=NOW - ago)
    return replace(attempt, **more)


def ended(verdict: str, job: str = "12", *, ago: float = 720, **more: Any) -> Attempt:
    return an_attempt(job, ago=ago, ended=NOW - ago + 600, verdict=verdict, **more)


def evidence(
    *attempts: Attempt, sent: tuple[Sent, ...] = (), run: RunFacts | None = None, **more: Any
) -> Evidence:
    """Evidence of a chain whose stage 1 is job 12, stage 2 job 13 and evaluation job 14, or of `sent`."""
    sent = sent or (
        Sent("stage1", "stage1", "12"),
        Sent("stage2", "stage2", "13", after=("12",)),
        Sent("eval", "eval", "14", after=("13",)),
    )
    by_key: dict[Any, tuple[Attempt, ...]] = {}
    for attempt in attempts:
        key = attempt.step, attempt.member
        by_key[key] = (*by_key.get(key, ()), attempt)
    return Evidence(run or facts(), sent, by_key, newest=NOW - 60, **more)


def write_run(path: Path, *steps: dict[str, Any], executor: str = "slurm") -> RunDir:
    """A run folder with a plan of these steps."""
    run = RunDir(path).create()
    told = [
        {"folder": str(path / step["name"]), "kind": "train", "needs": [], "settings": {}, **step}
        for step in steps
    ]
    write_json(
        run.plan,
        {
            "recipe": "pipeline",
            "cluster": "devcluster",
            "executor": executor,
            "run": str(path),
            "steps": told,
        },
    )
    return run


def write_ledger(run: RunDir, sent: tuple[Sent, ...] = (), attempts: tuple[Attempt, ...] = ()) -> None:
    for line in sent:
        record_sent(run, line)
    for attempt in attempts:
        record_attempt(run, attempt)


def write_metrics(folder: Path, *steps: int) -> None:
    for step in steps:
        append_line(folder / "metrics.jsonl", {"step": step, "loss": 1.0 / step, "samples_per_s": 100.0})


def write_episodes(folder: Path, successes: int, failures: int, errors: int = 0) -> None:
    outcomes = [(True, "")] * successes + [(False, "")] * failures + [(False, "boom")] * errors
    for number, (success, error) in enumerate(outcomes):
        append_line(
            folder / "episodes" / "put.jsonl",
            {
                "key": f"put/{number}",
                "task": "put",
                "episode_id": number,
                "variant": "",
                "instruction": "put it there",
                "success": success,
                "success_ever": success,
                "first_success": 3 if success else None,
                "steps": 60,
                "queries": 60,
                "wall_s": 1.0,
                "seed": 0,
                "policy": "p",
                "error": error,
            },
        )


def mark_done(folder: Path, seconds: float = 90.0) -> None:
    write_json(folder / "done.json", {"settings": "x", "seconds": seconds, "exit_code": 0})


def as_plain(value: Any) -> Any:
    """What a program reads from JSON."""
    return json.loads(json.dumps(value))
