"""The report's drawings as inline SVG, in plain Python.

Takes numbers, hands on markup whose colours are classes of style.py, so that one drawing serves
light and dark. Nothing refers to anything outside the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from stair.evaluate.numbers.comparison import Comparison
from stair.evaluate.numbers.rates import Rate
from stair.evaluate.numbers.real_robot import RealTask
from stair.evaluate.numbers.suites import Mean
from stair.evaluate.report.reading import Points
from stair.evaluate.report.text import mean_name

_WIDTH, _LEFT, _RIGHT, _ROW = 880, 330, 150, 38
_CHART_WIDTH, _CHART_HEIGHT = 420, 200
MOST_POINTS = 240


def interval_plot(means: Sequence[Mean]) -> str:
    """A row per mean: success at the last step as a dot over its interval, "ever" as a ring under it.
    Suites stand apart, as diamonds."""
    right = _WIDTH - _RIGHT
    height = 14 + _ROW * len(means) + 30

    def at(share: float) -> float:
        return _LEFT + (right - _LEFT) * share

    parts = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x = at(tick)
        parts.append(_line(x, 6, x, height - 26, "grid"))
        parts.append(_text(x, height - 8, f"{100 * tick:.0f} %", "soft", "middle"))
    before = ""
    for place, mean in enumerate(means):
        y = 14 + _ROW * place + _ROW / 2
        if before == "task" and mean.kind != "task":
            parts.append(_line(0, y - _ROW / 2, _WIDTH, y - _ROW / 2, "grid"))
        before = mean.kind
        name, label = mean_name(mean), "label" if mean.kind == "task" else "label strong"
        parts.append(_text(_LEFT - 14, y + 4.5, _short(name, 44), label, "end", title=name))
        if not mean.last.known:
            parts.append(_text(at(0) + 8, y + 4.5, "no finished episode", "soft", "start"))
            continue
        for rate, above, kind in ((mean.ever, 7, "ever"), (mean.last, -4, "bar")):
            low, high = rate.interval
            parts.append(_line(at(low), y + above, at(high), y + above, kind))
        parts.append(f'<circle class="ring" cx="{at(mean.ever.value):.1f}" cy="{y + 7:.1f}" r="4"/>')
        parts.append(_mark(at(mean.last.value), y - 4, diamond=mean.kind != "task"))
        parts.append(_text(right + 22, y + 4.5, f"{100 * mean.last.value:.1f} %", "value", "start"))
        parts.append(_text(_WIDTH, y + 4.5, f"n = {mean.last.trials}", "soft", "end"))
    told = ", ".join(f"{mean_name(mean)} {_in_words(mean.last)}" for mean in means)
    return _svg(_WIDTH, height, f"Success at the last step: {told}", parts)


def difference_plot(compared: Sequence[Comparison]) -> str:
    """A row per task: the difference of the last-step rates over its interval, around zero. What cannot
    be told apart is grey."""
    right = _WIDTH - _RIGHT
    height = 14 + _ROW * len(compared) + 30
    bounds = [abs(bound) for one in compared for bound in one.last.interval if one.last.points]
    reach = min(1.0, max(0.1, math.ceil(max(bounds, default=1.0) * 10) / 10))

    def at(difference: float) -> float:
        return (_LEFT + right) / 2 + (right - _LEFT) / 2 * difference / reach

    parts = []
    for tick in (-reach, -reach / 2, 0.0, reach / 2, reach):
        x = at(tick)
        parts.append(_line(x, 6, x, height - 26, "zero" if tick == 0 else "grid"))
        parts.append(_text(x, height - 8, f"{100 * tick:+.0f}" if tick else "0", "soft", "middle"))
    for place, one in enumerate(compared):
        y = 14 + _ROW * place + _ROW / 2
        parts.append(_text(_LEFT - 14, y + 4.5, _short(one.name, 44), "label", "end", title=one.name))
        if not one.last.points:
            parts.append(_text(at(0) + 8, y + 4.5, "no grid point in common", "soft", "start"))
            continue
        low, high = one.last.interval
        verdict = "" if one.last.distinguishable else " dull"
        parts.append(_line(at(low), y, at(high), y, f"bar{verdict}"))
        parts.append(_mark(at(one.last.difference), y, verdict))
        parts.append(_text(right + 22, y + 4.5, f"{100 * one.last.difference:+.1f}", "value", "start"))
        parts.append(_text(_WIDTH, y + 4.5, f"n = {one.last.points}", "soft", "end"))
    told = ", ".join(f"{one.name} {one.last.in_words()}" for one in compared)
    return _svg(_WIDTH, height, f"Difference of success at the last step: {told}", parts)


def real_plot(task: RealTask) -> str:
    """Simulated against real success rates, a point per policy; on the line they agree."""
    size, left, bottom = 260, 40, 214

    def at(sim: float, real: float) -> tuple[float, float]:
        return left + (size - left - 12) * sim, bottom - (bottom - 28) * real

    parts = [_text(0, 14, _short(task.task, 36), "label", "start", title=task.task)]
    parts.append(_line(*at(0, 0), *at(1, 1), "grid"))
    parts += [_line(*at(0, 0), *at(1, 0), "grid"), _line(*at(0, 0), *at(0, 1), "grid")]
    parts.append(_text(*at(0.5, -0.16), "simulated", "soft", "middle"))
    for share in (0, 0.5, 1):
        x, y = at(0, share)
        parts.append(_text(x - 6, y + 4, f"{100 * share:.0f}", "soft", "end"))
    for name, sim, real in task.policies:
        x, y = at(sim, real)
        tip = escape(f"{name}: {100 * sim:.1f} % simulated, {100 * real:.1f} % real")
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4.5"><title>{tip}</title></circle>')
    return _svg(size, 252, f"{task.task}: simulated against real success", parts)


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


def _in_words(rate: Rate) -> str:
    low, high = rate.interval
    return f"{100 * rate.value:.1f} % ({100 * low:.1f} to {100 * high:.1f} %)" if rate.known else "unknown"


def _mark(x: float, y: float, kind: str = "", *, diamond: bool = False) -> str:
    if diamond:
        corners = f"{x:.1f},{y - 7:.1f} {x + 7:.1f},{y:.1f} {x:.1f},{y + 7:.1f} {x - 7:.1f},{y:.1f}"
        return f'<polygon class="dot{kind}" points="{corners}"/>'
    return f'<circle class="dot{kind}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'


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
    """With its middle left out where it is long: the task's beginning and the setting stay readable."""
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-(most - most // 2) :]}"
