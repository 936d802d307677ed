"""Drills are done one after the other, and what came of each is a line of a table.

Takes drills and a Site, hands on Rows. A row holds when the run was found in the expected states, its
attempts failed of the expected causes, and every step, replayed or not, and the final weights are those of
the undisturbed run bit for bit.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from stair.errors import StairError
from tools.drilling.drills import Drill
from tools.drilling.losses import Values, differences, read_values
from tools.drilling.site import Site
from tools.drilling.trial import Trial

COLUMNS = ("drill", "what was done", "expected", "got", "attempts", "resumed at", "losses equal", "seconds")


@dataclass(frozen=True)
class Reference:
    """What the undisturbed run computed, by stage."""

    values: Mapping[str, Mapping[int, Values]]
    weights: Mapping[str, str]


@dataclass(frozen=True)
class Row:
    """What came of one drill."""

    drill: str
    done: str
    accounting: str
    expected: str
    got: str
    causes: tuple[str, ...] = ()
    expected_causes: tuple[str, ...] = ()
    resumed: tuple[int, ...] = ()
    differences: tuple[str, ...] = ()
    """Steps, and weights, that are not those of the undisturbed run."""
    compared: bool = True
    """False for the undisturbed run itself."""
    seconds: float = 0.0
    trouble: tuple[str, ...] = field(default=())
    """What else is not as it must be."""

    @property
    def holds(self) -> bool:
        same = self.got == self.expected and self.causes == self.expected_causes
        return same and not self.differences and not self.trouble

    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        causes = ", ".join([*self.causes, "done"]) if self.got.endswith("done") else ", ".join(self.causes)
        equal = "yes" if not self.differences else f"no: {self.differences[0]}"
        equal = equal if self.compared else "–"
        resumed = ", ".join(map(str, self.resumed)) or "–"
        got = "; ".join([self.got, *self.trouble])
        done, seconds = self.done, f"{self.seconds:.0f}"
        return (f"{self.drill}", done, self.expected, got, causes, resumed, equal, seconds)


def rehearse(
    drills: Sequence[Drill], site: Site, reference: Reference | None, tell: Callable[[str], None]
) -> Iterator[tuple[Row, Reference]]:
    """Does the drills in order. The first must be the undisturbed run, unless its values are known."""
    for drill in drills:
        if drill.small_disk and site.small is None:
            tell(f"{drill.name}: left out, no small disk here")
            continue
        trial = make_trial(drill, site)
        row = perform(drill, trial, reference, tell)
        if reference is None:
            reference = read_reference(trial)
        yield row, reference


def make_trial(drill: Drill, site: Site) -> Trial:
    """The run of a drill, in an empty folder."""
    folder = None
    if drill.small_disk and site.small is not None:
        folder = site.small / drill.name
    slurm = site.low_priority(drill.low) if drill.low else {}
    trial = Trial(site, drill.name, stages=drill.stages, folder=folder, **slurm)
    shutil.rmtree(trial.path, ignore_errors=True)
    return trial


def perform(drill: Drill, trial: Trial, reference: Reference | None, tell: Callable[[str], None]) -> Row:
    """One drill from its submission to its row; tidies up behind it."""
    started = time.monotonic()
    trouble: list[str] = []
    got = "?"
    try:
        got = drill.act(trial)
    except StairError as error:
        trouble.append(str(error).replace("\n", " "))
    seconds = time.monotonic() - started
    attempts = [attempt for stage in trial.stages for attempt in trial.attempts(stage)]
    causes = tuple(a.cause or str(a.verdict) for a in attempts if a.verdict != "done")
    resumed = tuple(trial.resumed())
    if drill.resumes and not (resumed and max(resumed) > 0):
        trouble.append("it did not go on from a checkpoint")
    if not drill.resumes and any(resumed):
        trouble.append("it went on from a checkpoint")
    unequal = compare(trial, reference) if reference is not None else []
    row = Row(
        drill=drill.name,
        done=drill.done,
        accounting="on" if trial.site.accounting else "off",
        expected=drill.expected,
        got=got,
        causes=causes,
        expected_causes=drill.causes,
        resumed=resumed,
        differences=tuple(unequal),
        compared=reference is not None,
        seconds=round(seconds, 1),
        trouble=tuple(trouble),
    )
    if not row.holds:
        tell(f"{drill.name}: {trial.story()}")
    trial.site.tidy()
    return row


def compare(trial: Trial, reference: Reference) -> list[str]:
    """What a run computed otherwise than the undisturbed one."""
    found = []
    for stage in trial.stages:
        lines = differences(trial.seen[stage], reference.values[stage])
        found += [f"{stage} {line}" for line in lines]
        if trial.weights(stage) != reference.weights[stage]:
            found.append(f"{stage}: other weights")
    return found


def read_reference(trial: Trial) -> Reference:
    """What a finished run computed. Raises StairError when it is not whole."""
    values = {}
    for stage in trial.stages:
        path = trial.stage(stage).metrics
        if not path.exists() or not trial.weights(stage):
            raise StairError("the undisturbed run did not end well", hint=trial.story())
        values[stage] = read_values(path.read_text())
    return Reference(values, {stage: trial.weights(stage) for stage in trial.stages})


def as_markdown(rows: Sequence[Row]) -> str:
    """The table, with a column more that says whether accounting was on."""
    lines = ["| " + " | ".join(("", "accounting", *COLUMNS)) + " |", "|" + "---|" * (len(COLUMNS) + 2)]
    for row in rows:
        cells = ("✓" if row.holds else "✗", row.accounting, *row.cells())
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines)


def as_json(rows: Sequence[Row]) -> dict[str, Any]:
    """The table for programs."""
    return {
        "holds": all(row.holds for row in rows),
        "drills": [{**asdict(r), "holds": r.holds} for r in rows],
    }
