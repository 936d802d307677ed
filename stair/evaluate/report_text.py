"""A Report for programs (JSON) and for a terminal or a pull request (Markdown); standard library only."""

from __future__ import annotations

from typing import Any

from stair.evaluate.episodes import TaskSummary
from stair.evaluate.report import Evaluation, Report

COLUMNS = ("task", "success", "n", "95 % interval", "ever", "steps", "first success", "errors")
"""Of the success table, wherever it is shown."""

SEMANTICS = (
    "Success counts the last step only, as SimplerEnv's evaluator does; “ever” counts episodes in which the"
    " condition held at any step. Intervals are 95 % Wilson scores."
)


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain values; rates and intervals as shares of one."""
    return {
        "run": str(report.run.path),
        "evaluations": [
            {
                "name": evaluation.name,
                "settings": evaluation.settings,
                "mean_success_rate": evaluation.mean_rate,
                "errors": evaluation.errors,
                "tasks": [_task(task) for task in evaluation.tasks],
            }
            for evaluation in report.evaluations
        ],
        "trainings": [
            {
                "name": training.name,
                "last": {name: points[-1][1] for name, points in training.metrics.items()},
            }
            for training in report.trainings
        ],
    }


def rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """The success table's cells, one row per task and variant, under COLUMNS."""
    table = [_row(task) for task in evaluation.tasks]
    if len(table) > 1 and evaluation.mean_rate is not None:
        table.append(("mean of tasks", percent(evaluation.mean_rate), *[""] * (len(COLUMNS) - 2)))
    return table


def as_markdown(report: Report) -> str:
    """The report as Markdown text."""
    lines = [f"# {report.run.path.name}", "", SEMANTICS]
    for evaluation in report.evaluations:
        lines += ["", f"## {evaluation.name or 'Evaluation'}", ""]
        told = [f"{name} `{value}`" for name, value in evaluation.settings.items() if value != ""]
        lines += [" · ".join(told), ""] if told else []
        lines += _table(COLUMNS, rows(evaluation))
        for record in [record for record in evaluation.records if record.error][:5]:
            lines += ["", f"- {record.key}: {record.error}"]
    for training in report.trainings:
        lines += ["", f"## Training {training.name}".rstrip(), ""]
        last = [
            (name, f"{points[-1][1]:.4g}", f"{points[-1][0]:g}") for name, points in training.metrics.items()
        ]
        lines += _table(("metric", "last value", "at step"), last)
    return "\n".join(lines) + "\n"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _row(task: TaskSummary) -> tuple[str, ...]:
    low, high = task.interval
    ended = task.episodes > 0
    return (
        task.name,
        percent(task.rate) if ended else "–",
        str(task.episodes),
        f"{100 * low:.1f} – {100 * high:.1f} %" if ended else "–",
        percent(task.successes_ever / task.episodes) if ended else "–",
        f"{task.mean_steps:.1f}" if ended else "–",
        f"{task.mean_first_success:.1f}" if task.mean_first_success is not None else "–",
        str(task.errors),
    )


def _task(task: TaskSummary) -> dict[str, Any]:
    low, high = task.interval
    return {
        "task": task.task,
        "variant": task.variant,
        "episodes": task.episodes,
        "successes": task.successes,
        "successes_ever": task.successes_ever,
        "success_rate": task.rate if task.episodes else None,
        "interval": [low, high],
        "episodes_for_5_points": task.episodes_for_5_points if task.episodes else None,
        "mean_steps": task.mean_steps,
        "mean_first_success": task.mean_first_success,
        "errors": task.errors,
    }


def _table(columns: tuple[str, ...], cells: list[tuple[str, ...]]) -> list[str]:
    rule = ["---", *["---:"] * (len(columns) - 1)]
    return ["| " + " | ".join(row) + " |" for row in (columns, rule, *cells)]
