"""Simulated success rates beside those of the real robot: does the simulator rank policies as reality does?

Takes a table of real success rates (CSV or JSON, or SIMPLER's published one) and a Report, hands on a
RealTask per task with MMRV and Pearson. A row's simulated rate is, in this order: that of the run folder
it names, that of the report's evaluation of this policy, the one written in the row. Simulated rates are of
the last step, and means over looks where the protocol has several.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stair.errors import StairError
from stair.evaluate.numbers.correlation import mmrv, pearson
from stair.evaluate.numbers.published import PUBLISHED
from stair.evaluate.report.reading import Evaluation, Report, read_report

COLUMNS = ("policy", "task", "real")
"""A row must have these; `simulated` (a rate) and `run` (a run folder, from the table's own) are optional."""


@dataclass(frozen=True)
class RealRate:
    """One policy on one task of the real robot."""

    policy: str
    task: str
    real: float
    """Share of successful trials, in [0, 1]."""
    simulated: float | None = None
    run: Path | None = None


@dataclass(frozen=True)
class RealTask:
    """One task: its policies, and how well the simulator ranks them."""

    task: str
    policies: tuple[tuple[str, float, float], ...]
    """(name, simulated, real)"""
    without: tuple[str, ...]
    """Policies that have a real rate but no simulated one; they are left out."""

    @property
    def mmrv(self) -> float | None:
        """None for fewer than two policies: there is no order to be wrong about."""
        return mmrv(*self._sides) if len(self.policies) > 1 else None

    @property
    def pearson(self) -> float | None:
        return pearson(*self._sides) if len(self.policies) > 1 else None

    @property
    def _sides(self) -> tuple[list[float], list[float]]:
        return [sim for _, sim, _ in self.policies], [real for _, _, real in self.policies]


def published() -> list[RealRate]:
    """SIMPLER's own table, real and simulated."""
    return [
        RealRate(policy, task, real, simulated)
        for task, policies in PUBLISHED.items()
        for policy, (real, simulated) in policies.items()
    ]


def read_real(path: Path) -> list[RealRate]:
    """The rows of a CSV file with a header, or of a JSON list of objects; see COLUMNS.

    Raises StairError naming the row that is none.
    """
    try:
        if path.suffix == ".json":
            rows = json.loads(path.read_text())
        else:
            with path.open(newline="") as file:
                rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise StairError(
            f"cannot read real success rates from {path}: {error}",
            hint=f"a CSV file with the columns {', '.join(COLUMNS)}, or `published`",
        ) from None
    if not isinstance(rows, list):
        raise StairError(f"{path} is no list of objects", hint=f'[{{"{COLUMNS[0]}": …, …}}, …]')
    return [_row(row, path, number) for number, row in enumerate(rows, start=1)]


def _row(row: Any, path: Path, number: int) -> RealRate:
    try:
        real, simulated = float(row["real"]), row.get("simulated")
        simulated = float(simulated) if simulated not in (None, "") else None
        run = path.parent / row["run"] if row.get("run") else None
        if all(0 <= rate <= 1 for rate in (real, simulated or 0.0)):
            return RealRate(str(row["policy"]), str(row["task"]), real, simulated, run)
        why = "success rates lie between 0 and 1"
    except KeyError as error:
        why = f"it has no {error.args[0]}"
    except (TypeError, ValueError, AttributeError) as error:
        why = str(error)
    raise StairError(
        f"row {number} of {path} is no real success rate: {why}",
        hint=f"each row needs {', '.join(COLUMNS)}; `simulated` and `run` are optional",
    )


def against_real(report: Report, known: Iterable[RealRate]) -> list[RealTask]:
    """Every task of the table for which at least one policy has a simulated rate, in the table's order.

    Raises NothingToReport for a row's run folder that holds no episodes.
    """
    ours = {name: rates for one in report.evaluations for name, rates in _rates(one).items()}
    runs: dict[Path, dict[str, float]] = {}
    found: dict[str, list[tuple[RealRate, float | None]]] = {}
    for row in known:
        if row.run is not None:
            if row.run not in runs:
                runs[row.run] = _every_rate(read_report(row.run))
            simulated = runs[row.run].get(row.task)
        else:
            simulated = ours.get(row.policy, {}).get(row.task, row.simulated)
        found.setdefault(row.task, []).append((row, simulated))
    tasks = [
        RealTask(
            task,
            tuple((row.policy, simulated, row.real) for row, simulated in rows if simulated is not None),
            tuple(row.policy for row, simulated in rows if simulated is None),
        )
        for task, rows in found.items()
    ]
    return [task for task in tasks if task.policies]


def _every_rate(report: Report) -> dict[str, float]:
    return {task: rate for one in report.evaluations for task, rate in task_rates(one).items()}


def _rates(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    """Under every name that a table may call the policy by."""
    policy = str(evaluation.settings.get("policy", ""))
    names = {evaluation.name, policy, Path(policy).name} - {""}
    return {name: task_rates(evaluation) for name in names}


def task_rates(evaluation: Evaluation) -> dict[str, float]:
    """Task → success rate at the last step; of several settings visual matching, which reality is like."""
    found: dict[str, float] = {}
    for mean in evaluation.means:
        plain = mean.setting or mean.parts == ("",)  # other variants are probes of their own
        if plain and mean.last.known and (mean.task not in found or mean.setting == "visual-matching"):
            found[mean.task] = mean.last.value
    return found


def as_json(task: RealTask) -> dict[str, Any]:
    """A RealTask as plain values."""
    return {
        "task": task.task,
        "mmrv": task.mmrv,
        "pearson": task.pearson,
        "policies": [
            {"policy": policy, "simulated": simulated, "real": real}
            for policy, simulated, real in task.policies
        ],
        "without_simulated": list(task.without),
    }
