"""The report's drawings as inline SVG, in plain Python.

Takes numbers, hands on markup whose colours are classes of report_style.py, so that one drawing serves
light and dark. Nothing refers to anything outside the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from stair.evaluate.episodes import TaskSummary
from stair.evaluate.report import Points

_WIDTH, _LEFT, _RIGHT, _ROW = 880, 250, 170, 36
_CHART_WIDTH, _CHART_HEIGHT = 420, 200
MOST_POINTS = 240


def interval_plot(tasks: Sequence[TaskSummary]) -> str:
    """A row per task: a dot at its success rate, a bar over its interval, a ring at "ever"."""
    right = _WIDTH - _RIGHT
    height = 14 + _ROW * len(tasks) + 30

    def at(share: float) -> float:
        return _LEFT + (right - _LEFT) * share

    parts = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x = at(tick)
        parts.append(_line(x, 6, x, height - 26, "grid"))
        parts.append(_text(x, height - 8, f"{100 * tick:.0f} %", "soft", "middle"))
    for place, task in enumerate(tasks):
        y = 14 + _ROW * place + _ROW / 2
        parts.append(_text(_LEFT - 14, y + 4.5, _short(task.name, 28), "label", "end", title=task.name))
        if not task.episodes:
            parts.append(_text(at(0) + 8, y + 4.5, "no finished episode", "soft", "start"))
            continue
        low, high = task.interval
        ever = task.successes_ever / task.episodes
        parts.append(_line(at(low), y, at(high), y, "bar"))
        parts.append(f'<circle class="ring" cx="{at(ever):.1f}" cy="{y:.1f}" r="6.5"/>')
        parts.append(f'<circle class="dot" cx="{at(task.rate):.1f}" cy="{y:.1f}" r="5"/>')
        told = f"{100 * task.rate:.1f} %"
        parts.append(_text(right + 22, y + 5, told, "value", "start"))
        parts.append(_text(_WIDTH, y + 5, f"{task.successes}/{task.episodes}", "soft", "end"))
    names = ", ".join(f"{task.name} {task.in_words()}" for task in tasks)
    return _svg(_WIDTH, height, f"Success per task: {names}", parts)


def line_chart(title: str, series: dict[str, Points]) -> str:
    """Curves over training steps, at most four, with their last values as the legend."""
    series = {name: thin(points) for name, points in list(series.items())[:4]}
    values = [value for points in series.values() for _, value in points]
    steps = [step for points in series.values() for step, _ in points]
    low, high = _bounds(values)
    last = max(steps) or 1.0
    left, right, top, bottom = 52, _CHART_WIDTH - 10, 34, _CHART_HEIGHT - 26

    def at(step: float, value: float) -> str:
        x = left + (right - left) * step / last
        y = bottom - (bottom - top) * (value - low) / (high - low)
        return f"{x:.1f},{y:.1f}"

    parts = [_text(0, 16, title, "label", "start")]
    for share in (0, 0.5, 1):
        value = low + (high - low) * share
        y = bottom - (bottom - top) * share
        parts.append(_line(left, y, right, y, "grid"))
        parts.append(_text(left - 8, y + 4, f"{value:.3g}", "soft", "end"))
    parts.append(_text(left, _CHART_HEIGHT - 6, "0", "soft", "start"))
    parts.append(_text(right, _CHART_HEIGHT - 6, f"step {last:,.0f}", "soft", "end"))
    for place, points in enumerate(series.values()):
        drawn = " ".join(at(step, value) for step, value in points)
        if len(points) == 1:
            x, y = drawn.split(",")
            parts.append(f'<circle class="mark c{place}" cx="{x}" cy="{y}" r="3.5"/>')
        else:
            parts.append(f'<polyline class="curve c{place}" points="{drawn}"/>')
        if len(series) == 1:
            parts.append(_text(right, 16, f"{points[-1][1]:.4g}", "value", "end"))
    return _svg(_CHART_WIDTH, _CHART_HEIGHT, title, parts) + _legend(series)


def thin(points: Points) -> Points:
    """At most MOST_POINTS points: means over equal runs of neighbours."""
    if len(points) <= MOST_POINTS:
        return points
    size = math.ceil(len(points) / MOST_POINTS)
    runs = [points[k : k + size] for k in range(0, len(points), size)]
    return [(run[-1][0], sum(value for _, value in run) / len(run)) for run in runs]


def _legend(series: dict[str, Points]) -> str:
    if len(series) < 2:
        return ""
    items = [
        f'<li><i class="swatch c{place}"></i>{escape(name.replace("_", " "))} <b>{points[-1][1]:.4g}</b></li>'
        for place, (name, points) in enumerate(series.items())
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def _bounds(values: list[float]) -> tuple[float, float]:
    """From zero, or from the least value, to the largest; a few early outliers do not flatten the rest."""
    ordered = sorted(values)
    high = ordered[min(len(ordered) - 1, math.ceil(0.99 * len(ordered)))]
    low = min(0.0, ordered[0])
    return low, high if high > low else low + 1.0


def _svg(width: float, height: float, label: str, parts: list[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str, title: str = "") -> str:
    tip = f"<title>{escape(title)}</title>" if title and title != text else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{tip}{escape(text)}</text>'


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
