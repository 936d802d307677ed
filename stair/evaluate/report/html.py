"""A Report as one HTML page that needs nothing else: no network, no script, no font of its own.

From what one looks at first to what one looks up: headline numbers, intervals, table, which starts fail,
films; then a comparison, the real robot and the training curves where there are any. Drawings are inline
SVG. Without films the page stays below two megabytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from stair.evaluate.numbers.layouts import layouts_of
from stair.evaluate.report.charts import difference_plot, interval_plot, line_chart, real_plot
from stair.evaluate.report.films import Gallery
from stair.evaluate.report.reading import Evaluation, Points, Report, Training
from stair.evaluate.report.starts import LEGEND, layout_map
from stair.evaluate.report.style import CSS
from stair.evaluate.report.text import (
    COLUMNS,
    COMPARED_COLUMNS,
    PARTIAL_COLUMNS,
    REAL_COLUMNS,
    SEMANTICS,
    compared_rows,
    incomplete_in_words,
    lines,
    look_rows,
    mean_row,
    needed,
    partial_rows,
    percent,
    real_rows,
    retried_in_words,
    wall_in_words,
)

MOST_ERRORS = 8
LOSSES = ("loss", "action", "align", "chunk", "waypoints")
"""What a STAIR model calls its losses; metrics with `loss` in their name are drawn anyway."""

_KEY = (
    '<p class="key"><span><svg viewBox="0 0 30 12"><line class="bar" x1="3" y1="6" x2="27" y2="6"/>'
    '<circle class="dot" cx="15" cy="6" r="4.5"/></svg>success at the last step, 95 % interval</span>'
    '<span><svg viewBox="0 0 30 12"><line class="ever" x1="3" y1="6" x2="27" y2="6"/>'
    '<circle class="ring" cx="15" cy="6" r="4"/></svg>success at any step</span></p>'
)


def as_html(report: Report) -> str:
    """The whole page."""
    gallery = Gallery(report.run.path)
    name = report.run.path.resolve().name
    body = [
        f"<h1>{escape(name)}</h1>",
        f'<p class="path">{escape(str(report.run.path))}</p>',
        *(_evaluation(evaluation, report.precision, gallery) for evaluation in report.evaluations),
        _comparison(report),
        _real(report),
        *(_training(training) for training in report.trainings),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(name)} · STAIR report</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n"
    )


def _evaluation(evaluation: Evaluation, precision: float, gallery: Gallery) -> str:
    notes = [*incomplete_in_words(evaluation), retried_in_words(evaluation), wall_in_words(evaluation)]
    table = [(*mean_row(mean, evaluation), needed(mean, precision)) for mean in lines(evaluation)]
    columns = (*COLUMNS, f"n for ± {100 * precision:g}")
    parts = [
        f"<h2>{escape(evaluation.name or 'Evaluation')}</h2>",
        _tiles(evaluation),
        _settings(evaluation),
        f'<div class="scroll">{interval_plot(lines(evaluation))}</div>',
        _KEY,
        _table(columns, table, [mean.kind for mean in lines(evaluation)]),
        f'<p class="note">{escape(SEMANTICS)}</p>',
        *(f'<p class="note">{escape(note)}</p>' for note in notes if note),
        _folded("Every look by itself", COLUMNS, look_rows(evaluation)),
        _partial(evaluation),
        _errors(evaluation),
        _layouts(evaluation),
        gallery.draw(evaluation.records),
    ]
    return "<section>" + "\n".join(part for part in parts if part) + "</section>"


def _tiles(evaluation: Evaluation) -> str:
    """The numbers that one came for: the published averages, or the mean of all tasks."""
    told = evaluation.suites or [evaluation.overall]
    tiles = []
    for mean in told:
        if not mean.last.known:
            continue
        low, high = mean.last.interval
        name = ", ".join(mean.parts) if mean.kind == "all" and len(mean.parts) == 1 else mean.name
        lacking = ' <b class="lacking">incomplete</b>' if mean.missing else ""
        tiles.append(
            f'<div><p>{escape(name)}{lacking}</p><p class="big">{percent(mean.last.value)}</p>'
            f"<p>at the last step, {100 * low:.1f} – {100 * high:.1f} %<br>{percent(mean.ever.value)} ever"
            f" · {mean.last.trials} episodes</p></div>"
        )
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""


def _settings(evaluation: Evaluation) -> str:
    told = {name: value for name, value in evaluation.settings.items() if value != ""}
    items = "".join(
        f"<div><dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(str(value))}</dd></div>"
        for name, value in told.items()
    )
    return f'<dl class="settings">{items}</dl>' if items else ""


def _table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], kinds: Sequence[str] = (), numbers: bool = True
) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        f'<tr class="{kind}">' + "".join(f"<td>{_breakable(cell)}</td>" for cell in row) + "</tr>"
        for row, kind in zip(rows, kinds or ["task"] * len(rows), strict=True)
    )
    table = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="scroll"><table{"" if numbers else " class=words"}>{table}</table></div>'


def _breakable(cell: str) -> str:
    """Long names may go on in a new line after an underscore."""
    return escape(cell).replace("_", "_<wbr>")


def _folded(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    summary = f"<summary>{escape(title)} ({len(rows)})</summary>"
    return f"<details>{summary}{_table(columns, rows)}</details>"


def _partial(evaluation: Evaluation) -> str:
    rows = partial_rows(evaluation)
    if not rows:
        return ""
    return f"<h3>Partial successes</h3>{_table(PARTIAL_COLUMNS, rows)}"


def _errors(evaluation: Evaluation) -> str:
    failed = [record for record in evaluation.records if record.error]
    if not failed:
        return ""
    items = "".join(f"<li>{escape(f'{one.key}: {one.error}')}</li>" for one in failed[:MOST_ERRORS])
    return f"<h3>{len(failed)} episodes ended in errors</h3><ul class='errors'>{items}</ul>"


def _layouts(evaluation: Evaluation) -> str:
    maps = "".join(layout_map(one) for one in layouts_of(evaluation.records))
    return f"<h3>Which starts fail</h3>{LEGEND}{maps}"


def _comparison(report: Report) -> str:
    if not report.comparison:
        return ""
    return (
        f"<section><h2>This run minus {escape(report.against)}</h2>"
        f'<div class="scroll">{difference_plot(report.comparison)}</div>'
        '<p class="note">Points of success at the last step, on the grid points that both runs have finished,'
        " with 95 % intervals of the paired difference; grey: not distinguishable.</p>"
        f"{_table(COMPARED_COLUMNS, compared_rows(report), numbers=False)}</section>"
    )


def _real(report: Report) -> str:
    if not report.real:
        return ""
    plots = "".join(f"<div>{real_plot(task)}</div>" for task in report.real)
    lacking = [f"{task.task}: {', '.join(task.without)}" for task in report.real if task.without]
    note = f'<p class="note">Without a simulated rate: {escape("; ".join(lacking))}.</p>' if lacking else ""
    return (
        f'<section><h2>Against the real robot</h2><div class="plots">{plots}</div>'
        '<p class="note">MMRV is the mean over policies of the largest real difference that the simulator'
        " orders wrongly; 0 is best. Per policy simulated / real success in percent.</p>"
        f"{_table(REAL_COLUMNS, real_rows(report), numbers=False)}{note}</section>"
    )


def _training(training: Training) -> str:
    charts = "".join(
        f"<div>{line_chart(title, series)}</div>" for title, series in chart_groups(training.metrics)
    )
    title = f"Training {training.name}".rstrip()
    return f'<section><h2>{escape(title)}</h2><div class="curves">{charts}</div></section>' if charts else ""


def chart_groups(metrics: dict[str, Points]) -> list[tuple[str, dict[str, Points]]]:
    """Which metrics share a chart: those named PREFIX/… do, losses stand alone, the rest is not drawn."""
    groups: dict[str, dict[str, Points]] = {}
    for name, points in metrics.items():
        prefix, slash, tail = name.partition("/")
        if slash:
            groups.setdefault(prefix, {})[tail] = points
        elif name in LOSSES or "loss" in name:
            groups[name] = {name: points}
    return [(title.replace("_", " "), series) for title, series in groups.items()]
