"""A Report for programs; standard library only.

Takes a Report, hands on plain values. Their names are promised by report.schema.json beside this file:
VERSION goes up when one of them changes its meaning or goes away, not when one is added.
"""

from __future__ import annotations

from typing import Any

from stair.evaluate.episodes import TaskSummary
from stair.evaluate.numbers import comparison, real_robot
from stair.evaluate.numbers.layouts import layouts_of
from stair.evaluate.numbers.rates import Rate
from stair.evaluate.numbers.suites import Mean
from stair.evaluate.report.reading import Evaluation, Report

VERSION = 1


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain values; rates and intervals as shares of one."""
    tree: dict[str, Any] = {
        "report_version": VERSION,
        "run": str(report.run.path),
        "precision": report.precision,
        "evaluations": [_evaluation(one, report.precision) for one in report.evaluations],
        "trainings": [
            {
                "name": training.name,
                "last": {name: points[-1][1] for name, points in training.metrics.items()},
            }
            for training in report.trainings
        ],
    }
    if report.comparison:
        tree["against"] = report.against
        tree["comparison"] = [comparison.as_json(one) for one in report.comparison]
    if report.real:
        tree["real_robot"] = [real_robot.as_json(one) for one in report.real]
    return tree


def _evaluation(evaluation: Evaluation, precision: float) -> dict[str, Any]:
    return {
        "name": evaluation.name,
        "settings": evaluation.settings,
        "seeds": evaluation.seeds,
        "mean_success_rate": evaluation.mean_rate,
        "errors": evaluation.errors,
        "tasks": [_task(task, precision) for task in evaluation.tasks],
        "means": [_mean(mean) for mean in [*evaluation.means, *evaluation.suites, evaluation.overall]],
        "layouts": _layouts(evaluation),
    }


def _task(task: TaskSummary, precision: float) -> dict[str, Any]:
    return {
        "task": task.task,
        "variant": task.variant,
        "episodes": task.episodes,
        "layouts": task.layouts,
        "successes": task.successes,
        "success_rate": task.rate if task.episodes else None,
        "interval": list(task.interval),
        "successes_ever": task.successes_ever,
        "success_rate_ever": task.ever.value if task.episodes else None,
        "interval_ever": list(task.ever.interval),
        "partial": {
            name: {"last": _rate(partial.last), "ever": _rate(partial.ever)}
            for name, partial in task.partial.items()
        },
        "episodes_needed": task.episodes_needed(precision) if task.episodes else None,
        "mean_steps": task.mean_steps,
        "mean_first_success": task.mean_first_success,
        "errors": task.errors,
        "retried": task.retried,
        "wall_s": task.wall_s,
        "times_s": task.times_s,
    }


def _mean(mean: Mean) -> dict[str, Any]:
    return {
        "name": mean.name,
        "kind": mean.kind,
        "setting": mean.setting,
        "task": mean.task,
        "success": _rate(mean.last),
        "success_ever": _rate(mean.ever),
        "parts": list(mean.parts),
        "missing": list(mean.missing),
        "complete": not mean.missing,
    }


def _rate(rate: Rate) -> dict[str, Any]:
    return {
        "rate": rate.value if rate.known else None,
        "interval": list(rate.interval),
        "successes": rate.hits,
        "episodes": rate.trials,
    }


def _layouts(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Of tasks whose layouts were played more than once (looks, seeds): the mean of each."""
    return [
        {
            "task": one.task,
            "setting": one.setting,
            "episode_id": cell.episode_id,
            "episodes": cell.episodes,
            "success_rate": cell.last,
            "success_rate_ever": cell.ever,
        }
        for one in layouts_of(evaluation.records)
        if one.repeated
        for cell in one.cells
        if cell.episodes
    ]
