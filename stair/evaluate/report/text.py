"""A Report as words: the cells of its tables wherever they are shown, and Markdown; standard library only."""

from __future__ import annotations

from collections import Counter

from stair.evaluate.episodes import TaskSummary
from stair.evaluate.numbers.intervals import episodes_for
from stair.evaluate.numbers.rates import Rate
from stair.evaluate.numbers.suites import Mean
from stair.evaluate.report.reading import Evaluation, Report

COLUMNS = ("task", "success, last step", "95 %", "success, ever", "95 %", "n", "first success", "errors")
"""Of the success table, wherever it is shown."""

SEMANTICS = (
    "“Last step” counts an episode whose condition holds at its last step, as SimplerEnv's evaluator does;"
    " “ever” counts one in which it held at any step. Numbers of papers can be compared only where both mean"
    " the same. Intervals of a task are 95 % Wilson scores; those of a mean add their squares, and tell what"
    " new episodes of the same tasks would give."
)


def rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """The success table's cells under COLUMNS: a row per task, over its looks, then the means."""
    return [mean_row(mean, evaluation) for mean in lines(evaluation)]


NARROW_COLUMNS = ("task", "success, last step", "success, ever", "n", "first success", "errors")


def narrow_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """The success table under NARROW_COLUMNS, for terminals: a rate and its interval share a cell."""
    return [
        (name, _both(last, sure), _both(ever, ever_sure), *rest)
        for name, last, sure, ever, ever_sure, *rest in rows(evaluation)
    ]


def _both(rate: str, interval: str) -> str:
    return rate if rate == interval else f"{rate} ({interval})"


def lines(evaluation: Evaluation) -> list[Mean]:
    """What the success table has rows for: tasks, suites, and the mean of all where no suite is that."""
    table = [*evaluation.means, *evaluation.suites]
    everything = evaluation.overall
    said = any(set(suite.parts) and suite.last == everything.last for suite in evaluation.suites)
    if len(everything.parts) > 1 and not said:
        table.append(everything)
    return table


def mean_row(mean: Mean, evaluation: Evaluation) -> tuple[str, ...]:
    """One row of the success table."""
    mine = [t for t in evaluation.tasks if mean.kind == "task" and (t.task, t.variant) in _looks(mean)]
    firsts = [(t.mean_first_success, t.successes_ever) for t in mine if t.mean_first_success is not None]
    count = sum(n for _, n in firsts)
    return (
        mean_name(mean),
        *_cells(mean.last),
        *_cells(mean.ever),
        str(mean.last.trials),
        f"{sum(steps * n for steps, n in firsts) / count:.1f}" if count else ("–" if mine else ""),
        str(sum(task.errors for task in mine)) if mine else "",
    )


def _looks(mean: Mean) -> set[tuple[str, str]]:
    return {(mean.task, variant) for variant in mean.variants}


def mean_name(mean: Mean) -> str:
    """With what is missing from it: a mean of three tasks of four is not the suite's."""
    if mean.kind == "suite" and mean.missing:
        return f"{mean.name}, incomplete"
    return mean.name


def look_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """The same cells for every look that a row of the table averages."""
    averaged = {pair for mean in evaluation.means if len(mean.variants) > 1 for pair in _looks(mean)}
    return [_look_row(task) for task in evaluation.tasks if (task.task, task.variant) in averaged]


def _look_row(task: TaskSummary) -> tuple[str, ...]:
    first = f"{task.mean_first_success:.1f}" if task.mean_first_success is not None else "–"
    return (
        task.name,
        *_cells(task.last),
        *_cells(task.ever),
        str(task.episodes),
        first,
        str(task.errors),
    )


PARTIAL_COLUMNS = ("task", "flag", "at last step", "95 %", "ever", "95 %", "n")


def partial_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """Partial successes under PARTIAL_COLUMNS, for what the simulator told beside success."""
    return [
        (task.name, name, *_cells(partial.last), *_cells(partial.ever), str(partial.ever.trials))
        for task in evaluation.tasks
        for name, partial in task.partial.items()
    ]


COMPARED_COLUMNS = ("task", "n", "success, last step", "success, ever")


def compared_rows(report: Report) -> list[tuple[str, ...]]:
    """The paired comparison under COMPARED_COLUMNS."""
    return [
        (one.name, str(one.last.points), one.last.in_words(), one.ever.in_words())
        for one in report.comparison
    ]


REAL_COLUMNS = ("task", "policies", "MMRV", "Pearson")


def real_rows(report: Report) -> list[tuple[str, ...]]:
    """How well the simulator ranks policies, under REAL_COLUMNS."""
    return [
        (
            one.task,
            ", ".join(f"{name} {100 * sim:.0f} / {100 * real:.0f}" for name, sim, real in one.policies),
            "–" if one.mmrv is None else f"{one.mmrv:.4f}",
            "–" if one.pearson is None else f"{one.pearson:.4f}",
        )
        for one in report.real
    ]


def needed(mean: Mean, precision: float) -> str:
    """How many episodes, each of a layout of its own, would make a task's interval this narrow."""
    return str(episodes_for(precision, mean.last.value)) if mean.kind == "task" and mean.last.known else ""


def needed_in_words(evaluation: Evaluation, precision: float) -> str:
    """The same for all tasks, or nothing where none has a finished episode."""
    told = [f"{mean.name} {needed(mean, precision)}" for mean in evaluation.means if mean.last.known]
    return f"episodes for ± {100 * precision:g} points at these rates: {', '.join(told)}" if told else ""


def wall_in_words(evaluation: Evaluation) -> str:
    """How long the episodes took, and which parts of it are on record."""
    wall_s = sum(task.wall_s for task in evaluation.tasks)
    times: dict[str, float] = {}
    for task in evaluation.tasks:
        for name, part_s in task.times_s.items():
            times[name] = times.get(name, 0.0) + part_s
    if not wall_s:
        return ""
    parts = ", ".join(f"{name} {100 * part_s / wall_s:.0f} %" for name, part_s in times.items())
    took = f"{wall_s / 3600:.1f} hours" if wall_s >= 3600 else f"{wall_s / 60:.1f} minutes"
    return f"{took} of episodes, added up over workers" + (f": {parts}" if parts else "")


def retried_in_words(evaluation: Evaluation) -> str:
    """How many episodes were begun more than once, and why most of them."""
    again = sum(task.retried for task in evaluation.tasks)
    if not again:
        return ""
    faults = Counter(fault for record in evaluation.records if not record.error for fault in record.faults)
    why = ", ".join(f"{count} × {fault}" for fault, count in faults.most_common(3))
    return f"{again} episodes came to their end after more than one attempt" + (f": {why}" if why else "")


def incomplete_in_words(evaluation: Evaluation) -> list[str]:
    """A line per mean that lacks something of the protocol."""
    return [
        f"{mean.name}: without {_some(mean.missing)}"
        for mean in [*evaluation.means, *evaluation.suites]
        if mean.missing and mean.last.known
    ]


def _some(names: tuple[str, ...], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def as_markdown(report: Report) -> str:
    """The report as Markdown text."""
    text = [f"# {report.run.path.name}", "", SEMANTICS]
    for evaluation in report.evaluations:
        text += ["", f"## {evaluation.name or 'Evaluation'}", ""]
        told = [f"{name} `{value}`" for name, value in evaluation.settings.items() if value != ""]
        text += [" · ".join(told), ""] if told else []
        text += _table(COLUMNS, rows(evaluation))
        notes = [needed_in_words(evaluation, report.precision), *incomplete_in_words(evaluation)]
        for note in filter(None, [*notes, retried_in_words(evaluation), wall_in_words(evaluation)]):
            text += ["", note]
        if partial := partial_rows(evaluation):
            text += ["", *_table(PARTIAL_COLUMNS, partial)]
        for record in [record for record in evaluation.records if record.error][:5]:
            text += ["", f"- {record.key}: {record.error}"]
    if report.comparison:
        text += [
            "",
            f"## This run minus {report.against}",
            "",
            *_table(COMPARED_COLUMNS, compared_rows(report)),
        ]
    if report.real:
        text += ["", "## Against the real robot", "", *_table(REAL_COLUMNS, real_rows(report))]
    for training in report.trainings:
        text += ["", f"## Training {training.name}".rstrip(), ""]
        last = [
            (name, f"{points[-1][1]:.4g}", f"{points[-1][0]:g}") for name, points in training.metrics.items()
        ]
        text += _table(("metric", "last value", "at step"), last)
    return "\n".join(text) + "\n"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _cells(rate: Rate) -> tuple[str, str]:
    low, high = rate.interval
    return (percent(rate.value), f"{100 * low:.1f} – {100 * high:.1f}") if rate.known else ("–", "–")


def _table(columns: tuple[str, ...], cells: list[tuple[str, ...]]) -> list[str]:
    rule = ["---", *["---:"] * (len(columns) - 1)]
    return ["| " + " | ".join(row) + " |" for row in (columns, rule, *cells)]
