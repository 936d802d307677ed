"""Which starts fail, as coloured cells: planes where the layouts have places, strips where they do not.

Takes LayoutMaps, hands on markup. Every cell is one layout over all its looks and seeds, with its numbers
as a tip.
"""

from __future__ import annotations

from html import escape

from stair.evaluate.numbers.layouts import Cell, LayoutMap, Plot

LARGE = 150
"""Strips of at most this many cells are drawn large, with numbers in them."""

LEGEND = (
    '<p class="key scale"><span><i class="h0"></i><i class="h3"></i><i class="h5"></i><i class="h7"></i>'
    '<i class="h10"></i> share of episodes with success at the last step, from none to all</span>'
    '<span><i class="h0 ever"></i> success in some episode, but never at the last step</span>'
    '<span><i class="error"></i> ended in an error</span></p>'
)


def layout_map(one: LayoutMap) -> str:
    """A task's cells under its name."""
    if one.plots:
        shown = f'<div class="planes">{"".join(_plane(plot) for plot in one.plots)}</div>'
    else:
        large = len(one.cells) <= LARGE
        cells = "".join(_cell(cell, number=large, long=large) for cell in one.cells)
        shown = f'<div class="cells{" large" if large else ""}">{cells}</div>'
    return f"<h4>{escape(one.name)}{_worst(one)}</h4>{shown}"


def _worst(one: LayoutMap) -> str:
    ended = [cell for cell in one.cells if cell.episodes]
    never = sum(cell.ever == 0 for cell in ended)
    return f' <span class="soft">{never} of {len(ended)} layouts never succeed</span>' if ended else ""


def _plane(plot: Plot) -> str:
    head = "".join(f"<th>{y:.2f}</th>" for y in plot.ys)
    rows = "".join(
        f"<tr><th>{x:.2f}</th>" + "".join(f"<td>{_cell(cell, share=True)}</td>" for cell in row) + "</tr>"
        for x, row in zip(plot.xs, plot.rows, strict=True)
    )
    return (
        f'<div><p class="soft">{escape(plot.title)}</p><table class="plane">'
        f"<caption>{plot.what}'s y (m) across, x down</caption><tr><th></th>{head}</tr>{rows}</table></div>"
    )


def _cell(cell: Cell | None, *, share: bool = False, number: bool = False, long: bool = True) -> str:
    if cell is None:
        return '<i class="none"></i>'
    if not cell.episodes:
        kind, inside = "error", ""
    else:
        kind = f"h{round(10 * cell.last)}" + (" ever" if cell.ever and not cell.last else "")
        inside = f"{100 * cell.last:.0f}" if share else str(cell.episode_id) if number else ""
    return f'<i class="{kind}" title="{escape(_tip(cell, long))}">{inside}</i>'


def _tip(cell: Cell, long: bool) -> str:
    said = [f"layout {cell.episode_id}"]
    if cell.episodes == 1:
        said.append("success" if cell.last else "success, then lost" if cell.ever else "failure")
    elif cell.episodes:
        said.append(f"{100 * cell.last:.0f} % at the last step, {100 * cell.ever:.0f} % ever")
        said.append(f"{cell.episodes} episodes")
    if cell.errors:
        said.append(f"{cell.errors} in errors")
    return " · ".join([*said, cell.instruction] if long and cell.instruction else said)
