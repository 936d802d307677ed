"""A Report as one HTML page that needs nothing else: no network, no script, no font of its own.

Drawings are inline SVG and films are embedded while they are small; past the page's budget a film's
action plot stands in for it, and past that a link beside the page.
"""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path

from stair.evaluate.episodes import EpisodeRecord
from stair.evaluate.report import Evaluation, Points, Report, Training
from stair.evaluate.report_charts import interval_plot, line_chart
from stair.evaluate.report_style import CSS
from stair.evaluate.report_text import COLUMNS, SEMANTICS, rows

FILM_BYTES = 2**20
"""A film above this size is not embedded."""
PAGE_BYTES = 16 * 2**20
"""All embedded films and pictures together."""
MOST_ERRORS = 8
LOSSES = ("loss", "action", "align", "chunk", "waypoints")
"""What a STAIR model calls its losses; metrics with `loss` in their name are drawn anyway."""

_KEY = (
    '<p class="key"><span><svg viewBox="0 0 30 12"><line class="bar" x1="3" y1="6" x2="27" y2="6"/>'
    '<circle class="dot" cx="15" cy="6" r="4.5"/></svg>success at the last step, 95 % interval</span>'
    '<span><svg viewBox="0 0 30 12"><circle class="ring" cx="15" cy="6" r="5"/></svg>success at any step'
    "</span></p>"
)


def as_html(report: Report) -> str:
    """The whole page."""
    budget = _Budget(PAGE_BYTES)
    name = report.run.path.resolve().name
    body = [
        f"<h1>{escape(name)}</h1>",
        f'<p class="path">{escape(str(report.run.path))}</p>',
        *(_evaluation(evaluation, budget) for evaluation in report.evaluations),
        *(_training(training) for training in report.trainings),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(name)} · STAIR report</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


class _Budget:
    """Hands out bytes of the page until they are spent."""

    def __init__(self, left: int) -> None:
        self.left = left

    def embed(self, path: Path, kind: str) -> str | None:
        """The file as a data address, or None when it is missing or too large."""
        try:
            size = path.stat().st_size
            if size > FILM_BYTES or size * 4 // 3 > self.left:
                return None
            data = base64.b64encode(path.read_bytes()).decode()
        except OSError:
            return None
        self.left -= len(data)
        return f"data:{kind};base64,{data}"


def _evaluation(evaluation: Evaluation, budget: _Budget) -> str:
    parts = [f"<h2>{escape(evaluation.name or 'Evaluation')}</h2>"]
    told = {name: value for name, value in evaluation.settings.items() if value != ""}
    if told:
        items = "".join(
            f"<div><dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(str(value))}</dd></div>"
            for name, value in told.items()
        )
        parts.append(f'<dl class="settings">{items}</dl>')
    plot = f'<div class="scroll">{interval_plot(evaluation.tasks)}</div>'
    parts += [plot, _KEY, _table(evaluation)]
    parts.append(f'<p class="note">{escape(SEMANTICS)}</p>')
    parts.append(_errors(evaluation))
    parts.append(_episodes(evaluation))
    films = [record for record in evaluation.records if record.video]
    if films:
        drawn = "".join(_film(record, evaluation, budget) for record in films)
        parts.append(f'<h3>Filmed episodes</h3><div class="films">{drawn}</div>')
    return "<section>" + "\n".join(parts) + "</section>"


def _table(evaluation: Evaluation) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in COLUMNS)
    lines = []
    for row in rows(evaluation):
        kind = ' class="mean"' if row[0] == "mean of tasks" else ""
        lines.append(f"<tr{kind}>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f'<div class="scroll"><table>{body}</table></div>'


def _errors(evaluation: Evaluation) -> str:
    failed = [record for record in evaluation.records if record.error]
    if not failed:
        return ""
    items = "".join(f"<li>{escape(f'{one.key}: {one.error}')}</li>" for one in failed[:MOST_ERRORS])
    return f"<h3>{len(failed)} episodes ended in errors</h3><ul class='errors'>{items}</ul>"


def _episodes(evaluation: Evaluation) -> str:
    parts = []
    for task in evaluation.tasks:
        mine = [one for one in evaluation.records if (one.task, one.variant) == (task.task, task.variant)]
        squares = "".join(f'<i class="{_kind(one)}" title="{escape(_tip(one))}"></i>' for one in mine)
        parts.append(f'<h3>Every episode of {escape(task.name)}</h3><div class="episodes">{squares}</div>')
    parts.append(
        '<p class="note">In the order of layouts: filled, success at the last step; outlined in green,'
        " success only before it; red, ended in an error.</p>"
    )
    return "".join(parts)


def _kind(record: EpisodeRecord) -> str:
    if record.error:
        return "error"
    return "success" if record.success else "ever" if record.success_ever else "failure"


def _tip(record: EpisodeRecord) -> str:
    told = {"error": record.error, "ever": "success, then lost"}.get(_kind(record), _kind(record))
    return f"{record.key} · {record.instruction} · {told}"


def _film(record: EpisodeRecord, evaluation: Evaluation, budget: _Budget) -> str:
    path = evaluation.run.path / record.video
    alt = escape(f"{record.key}: {record.instruction}")
    if film := budget.embed(path, "video/mp4"):
        shown = f'<video src="{film}" aria-label="{alt}" controls autoplay loop muted playsinline></video>'
    elif still := budget.embed(path.with_suffix(".png"), "image/png"):
        shown = f'<img src="{still}" alt="{alt}">'
    else:
        beside = escape(str(Path(evaluation.name) / record.video))
        shown = f'<a href="{beside}">{beside}</a>'
    verdict = "success" if record.success else "failure"
    detail = f"{record.key.partition('/')[2]} · {record.steps} steps"
    if record.success_ever:
        detail += f", first held after {record.first_success}"
    return (
        f'<figure>{shown}<figcaption><span class="verdict {verdict}">{verdict}</span> · '
        f'{escape(record.instruction)}<br><span class="soft">{escape(detail)}</span></figcaption></figure>'
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
