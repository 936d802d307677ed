"""Everything a run folder knows about itself, read once.

Takes a run folder, hands on Evidence: the plan's few keys that matter here, what was sent, every attempt,
which steps and members are done, how far they are. Standard library only, and nothing is asked of Slurm:
this is what remains true when slurmctld is silent and accounting is off.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stair.cluster.ledger import Attempt, Sent, attempted, jobs_file, read_attempts, read_sent
from stair.errors import WRONG_USE, StairError
from stair.report.progress import Progress, read_progress
from stair.rundir import RunDir

Key = tuple[str, int | None]
"""A step, or one member of it."""


class NoSuchRun(StairError):
    """The folder is missing, or no run."""

    exit_code = WRONG_USE


@dataclass(frozen=True)
class StepFacts:
    """What the plan says of a step."""

    name: str
    kind: str
    folder: Path
    needs: tuple[str, ...] = ()
    members: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_array(self) -> bool:
        return self.members > 1


@dataclass(frozen=True)
class RunFacts:
    """What the plan says of a run."""

    path: Path
    recipe: str
    cluster: str
    executor: str
    steps: tuple[StepFacts, ...]
    slurm_conf: str = ""


@dataclass(frozen=True)
class Cancelled:
    """RUN/cancelled: a person has ended the run, and nothing of it is to begin again."""

    who: str = "somebody"
    when: str = ""


@dataclass(frozen=True)
class Evidence:
    """What the folder says at one moment."""

    run: RunFacts
    sent: tuple[Sent, ...] = ()
    attempts: Mapping[Key, tuple[Attempt, ...]] = field(default_factory=dict)
    done: Mapping[str, Mapping[int | None, float]] = field(default_factory=dict)
    """Per step the finished members (None: the step as a whole), with the seconds it took, 0 if unknown."""
    progress: Mapping[str, Progress] = field(default_factory=dict)
    cancelled: Cancelled | None = None
    newest: float = 0.0
    """When the folder last learned anything; seconds since 1970."""

    def is_finished(self, step: StepFacts) -> bool:
        """Whether a step, or every member of it, has its marker."""
        done = self.done.get(step.name, {})
        if not step.is_array:
            return None in done
        return len(done) >= step.members and all(member in done for member in range(step.members))


def read_evidence(path: Path) -> Evidence:
    """Reads a run folder. Raises NoSuchRun for a folder without a plan, StairError for a broken record."""
    run = RunDir(path)
    facts = read_facts(run)
    done = {step.name: _done(step) for step in facts.steps}
    try:
        sent = tuple(read_sent(run))
        attempts = {
            (step, member): tuple(read_attempts(run, step, member))
            for step, member in attempted(run)
            if member is None or member not in done.get(step, {})
        }
    except (ValueError, TypeError) as error:
        raise StairError(f"a record in {path} is damaged: {error}", hint=f"see {jobs_file(run)}") from None
    progress = {step.name: found for step in facts.steps if (found := read_progress(step)) is not None}
    times = [line.time for line in sent]
    times += [time for some in attempts.values() for a in some for time in (a.started, a.ended or 0.0)]
    times += [found.time for found in progress.values()]
    return Evidence(facts, sent, attempts, done, progress, read_cancelled(run), max(times, default=0.0))


def read_facts(run: RunDir) -> RunFacts:
    """What plan.json says, by the few keys needed here. Raises NoSuchRun when there is none."""
    if not run.path.is_dir():
        raise NoSuchRun(f"no run folder {run.path}", hint="check the path")
    try:
        tree = json.loads(run.plan.read_text())
        steps = tuple(
            StepFacts(
                name=step["name"],
                kind=step["kind"],
                folder=Path(step["folder"]),
                needs=tuple(step.get("needs", ())),
                members=step.get("members", 1),
                settings=step.get("settings", {}),
            )
            for step in tree["steps"]
        )
        return RunFacts(
            run.path, tree["recipe"], tree["cluster"], tree["executor"], steps, tree.get("slurm_conf", "")
        )
    except FileNotFoundError:
        raise NoSuchRun(
            f"{run.path} has no plan.json: nothing was submitted to it", hint="check the path"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoSuchRun(f"{run.plan} is no plan: {error!r}", hint="check the path") from None


def read_cancelled(run: RunDir) -> Cancelled | None:
    """Who cancelled the run, if anybody did."""
    try:
        tree = json.loads(cancelled_file(run).read_text())
        return Cancelled(str(tree["who"]), str(tree["when"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return Cancelled()  # the file is there, whatever it says


def cancelled_file(run: RunDir) -> Path:
    """The marker that keeps supervisors from beginning again."""
    return run.path / "cancelled"


def _done(step: StepFacts) -> dict[int | None, float]:
    """The markers of a step. Those of members are not opened: there may be thousands."""
    if step.is_array:
        try:
            names = [entry.name for entry in (step.folder / "members").iterdir()]
        except OSError:
            return {}
        return {int(match[1]): 0.0 for name in names if (match := re.fullmatch(r"(\d+)\.json", name))}
    try:
        return {None: float(json.loads((step.folder / "done.json").read_text()).get("seconds", 0.0))}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
