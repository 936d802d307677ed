"""Which starts a policy masters: the episodes of one layout together, placed as they lie on the table.

Takes records, hands on a LayoutMap per task and setting: a Cell per start, averaged over looks and seeds,
and how cells stand to each other where the protocol varies two coordinates (places of an object, poses of
the robot). Elsewhere layouts have only a number and stand in its order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from stair.evaluate.episodes import EpisodeRecord
from stair.evaluate.numbers.suites import IN_WORDS, LAST_SETTING, setting_of
from stair.sim.simpler_grid import CAN_POSES, GRIDS, Start, find_start


@dataclass(frozen=True)
class Cell:
    """One start."""

    episode_id: int
    episodes: int
    """Finished ones."""
    last: float
    """Share of them with success at the last step."""
    ever: float
    errors: int
    instruction: str


@dataclass(frozen=True)
class Plot:
    """Cells that lie in one plane, as the robot's camera sees it: it looks along -x, so that what lies
    farther (smaller x) is above and larger y to the right."""

    title: str
    what: str
    """object or robot: whose place it is."""
    xs: tuple[float, ...]
    """metres, of the rows"""
    ys: tuple[float, ...]
    rows: tuple[tuple[Cell | None, ...], ...]
    """None where nothing was played."""


@dataclass(frozen=True)
class LayoutMap:
    """All starts of one task in one setting."""

    task: str
    setting: str
    name: str
    cells: tuple[Cell, ...]
    plots: tuple[Plot, ...]
    """Empty where the layouts have no coordinates."""

    @property
    def repeated(self) -> bool:
        """Whether any start was played more than once."""
        return any(cell.episodes > 1 for cell in self.cells)


def layouts_of(records: Iterable[EpisodeRecord]) -> list[LayoutMap]:
    """One map per task and setting, visual matching before variant aggregation; a variant outside SIMPLER's
    protocol has a map of its own."""
    groups: dict[tuple[str, str, str], dict[int, list[EpisodeRecord]]] = {}
    for record in records:
        setting = setting_of(record.task, record.variant)
        group = groups.setdefault((record.task, setting, "" if setting else record.variant), {})
        group.setdefault(record.episode_id, []).append(record)
    ordered = sorted(groups.items(), key=lambda one: one[0][1] == LAST_SETTING)
    return [_map(*key, group) for key, group in ordered]


def _map(task: str, setting: str, variant: str, group: dict[int, list[EpisodeRecord]]) -> LayoutMap:
    several = {record.variant for records in group.values() for record in records}
    told = IN_WORDS[setting] if setting and several != {""} else variant
    cells = {number: _cell(number, group[number]) for number in sorted(group)}
    starts = {
        number: find_start(task, records[0].variant, number)
        for number, records in group.items()
        if task in GRIDS and setting
    }
    name = f"{task} ({told})" if told else task
    return LayoutMap(task, setting, name, tuple(cells.values()), _plots(cells, starts))


def _cell(number: int, records: list[EpisodeRecord]) -> Cell:
    ended = [record for record in records if not record.error]
    count = max(1, len(ended))
    return Cell(
        number,
        len(ended),
        sum(record.success for record in ended) / count,
        sum(record.success_ever for record in ended) / count,
        len(records) - len(ended),
        records[0].instruction,
    )


def _plots(cells: dict[int, Cell], starts: dict[int, Start]) -> tuple[Plot, ...]:
    """A plane per environment and pose of the robot where objects move, per environment where only the
    robot does; none where layouts are the environment's own."""
    planes: dict[str, dict[tuple[float, float], Cell]] = {}
    moved = any(start.object_xy for start in starts.values())
    several = len({start.robot for start in starts.values()}) > 1
    for number, start in sorted(starts.items()):
        if start.layout is not None:
            return ()
        title = next((name for name in CAN_POSES if start.make.get(name)), start.env.partition("Drawer")[0])
        if moved and several:
            title += f", robot at {start.robot[0]:g}, {start.robot[1]:g}"
        at = start.object_xy if moved and start.object_xy else start.robot[:2]
        planes.setdefault(title, {})[at] = cells[number]
    what = "object" if moved else "robot"
    return tuple(_plane(title, what, plane) for title, plane in planes.items())


def _plane(title: str, what: str, plane: dict[tuple[float, float], Cell]) -> Plot:
    xs, ys = grid_lines([x for x, _ in plane]), grid_lines([y for _, y in plane])
    rows: list[list[Cell | None]] = [[None] * len(ys) for _ in xs]
    for (x, y), cell in plane.items():
        row = min(range(len(xs)), key=lambda k: abs(xs[k] - x))
        rows[row][min(range(len(ys)), key=lambda k: abs(ys[k] - y))] = cell
    return Plot(title, what, xs, ys, tuple(map(tuple, rows)))


def grid_lines(values: Iterable[float]) -> tuple[float, ...]:
    """The lines of a grid that was placed by hand: means of values closer than 0.4 of the widest gap."""
    ordered = sorted(set(values))
    gaps = [after - before for before, after in pairwise(ordered)]
    lines: list[list[float]] = []
    for place, value in enumerate(ordered):
        if not place or gaps[place - 1] > 0.4 * max(gaps):
            lines.append([])
        lines[-1].append(value)
    return tuple(sum(line) / len(line) for line in lines)
