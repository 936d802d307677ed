"""Who plays what next, and what becomes of an episode that was lost; pure.

Takes the orders of an evaluation and hears how each of them ended, hands out the next one. The surprise: a
process is given what it has open already, since building a scene takes a real simulator 10 to 20 s, and
moves on to the scene with most left for each of those at work there; as orders only become fewer, every
scene gets its turn.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from stair.evaluate.episodes import EpisodeRecord
from stair.sim.contract import GridPoint

HOPELESS = 5
"""This many errors before any episode of a task comes to its end: the task is given up."""

Scene = tuple[str, str]
"""Task and variant: what a simulator has to build anew."""


@dataclass(frozen=True)
class Order:
    """One episode to play."""

    point: GridPoint
    film: bool
    faults: tuple[str, ...] = ()
    """What ended the attempts before."""

    @property
    def scene(self) -> Scene:
        return self.point.task, self.point.variant


class Orders:
    """What is left to play."""

    def __init__(self, orders: Sequence[Order], retries: int) -> None:
        """retries: how often an order that was lost is played again."""
        self.retries = retries
        self.hopeless: dict[str, str] = {}
        """Tasks that are given up, and why."""
        self._left: dict[Scene, deque[Order]] = {}
        for order in orders:
            self._left.setdefault(order.scene, deque()).append(order)
        self._finished: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()

    def __len__(self) -> int:
        return sum(map(len, self._left.values()))

    def next(self, scene: Scene | None, others: Iterable[Scene]) -> Order | None:
        """An order for a process that has `scene` open, if any, while the `others` are being played."""
        if scene is None or not self._left.get(scene):
            busy = Counter(others)
            open_scenes = [one for one, orders in self._left.items() if orders]
            if not open_scenes:
                return None
            scene = max(open_scenes, key=lambda one: len(self._left[one]) / (1 + busy[one]))
        return self._left[scene].popleft()

    def lost(self, order: Order, fault: str) -> Order | None:
        """Puts a lost order back, behind the others of its scene. Returns it, with its faults, when it has
        been lost too often."""
        order = replace(order, faults=(*order.faults, fault))
        if len(order.faults) > self.retries or order.point.task in self.hopeless:
            return order
        self._left[order.scene].append(order)
        return None

    def ended(self, record: EpisodeRecord) -> None:
        """Counts what came of an order; gives up a task in which nothing ever works."""
        task = record.task
        if not record.error:
            self._finished[task] += 1
            return
        self._errors[task] += 1
        if self._errors[task] >= HOPELESS and not self._finished[task]:
            self.hopeless[task] = record.error
            for scene, orders in self._left.items():
                if scene[0] == task:
                    orders.clear()

    def in_despair(self) -> str:
        """The tasks that were given up, in words; empty without any."""
        return "; ".join(
            f"{task}: the first {self._errors[task]} episodes all ended in errors, the last: {why}"
            for task, why in self.hopeless.items()
        )
