"""How large a batch shall be and how long it pays to wait for it, learnt from the clients' rhythm; pure.

Takes when clients asked and were answered and how long the model took, hands on two numbers: the size of a
good batch, and the seconds worth waiting for the next client. All at once is not best: while half of the
simulators step, the model can serve the other half, so the clients are led into groups that take turns. The
surprise: nobody is told to join a group; a group is those who were answered together.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import accumulate

WEIGHT = 0.2
"""Of a new observation in a running mean."""
FORGET = 0.97
"""What the model's times of before still count after each batch."""
SLACK = 1.1
"""Groups that follow each other this closely would wait for each other when one is late."""
LATE = 3.0
"""Mean deviations after which a client is not expected any more: it builds a scene, or hangs."""
MOMENT_S = 0.001


@dataclass
class _Rhythm:
    """How long one client takes from an answer to its next question."""

    answered: float
    mean_s: float | None = None
    spread_s: float = 0.0

    def asked(self, now: float) -> None:
        seen = now - self.answered
        if self.mean_s is None:
            self.mean_s = seen
            return
        seen = min(seen, 3 * self.mean_s + MOMENT_S)  # a new scene is no new rhythm
        self.spread_s += WEIGHT * (abs(seen - self.mean_s) - self.spread_s)
        self.mean_s += WEIGHT * (seen - self.mean_s)

    def due_in(self, now: float) -> float | None:
        """Seconds until it will probably have asked; None when it is not expected."""
        if self.mean_s is None:
            return None
        left = self.answered + self.mean_s - now
        if left < -(LATE * self.spread_s + MOMENT_S):
            return None
        return max(0.0, left) + self.spread_s


class Pace:
    """What was learnt so far."""

    def __init__(self) -> None:
        self._rhythms: dict[Hashable, _Rhythm] = {}
        self._asking: set[Hashable] = set()
        # Weighted sums over batches of 1, size, size², seconds, size · seconds.
        self._sums = [0.0] * 5
        self._good: dict[int, int] = {}

    def asked(self, client: Hashable, now: float) -> None:
        """A client asks. None is nobody in particular: nothing is learnt of it."""
        if client is None:
            return
        self._asking.add(client)
        if client in self._rhythms:
            self._rhythms[client].asked(now)

    def answered(self, client: Hashable, now: float) -> None:
        """It has its answer."""
        if client is None:
            return
        self._asking.discard(client)
        self._rhythms.setdefault(client, _Rhythm(now)).answered = now

    def left(self, client: Hashable) -> None:
        """It will not ask again."""
        self._asking.discard(client)
        self._rhythms.pop(client, None)

    def ran(self, size: int, seconds: float) -> None:
        """The model took this long for a batch."""
        new = (1.0, size, size * size, seconds, size * seconds)
        self._sums = [FORGET * old + one for old, one in zip(self._sums, new, strict=True)]
        self._good = {}

    def model_s(self, size: float) -> float:
        """Seconds that the model will take for a batch: a line through those seen, never falling."""
        count, x, xx, y, xy = self._sums
        if not count:
            return 0.0
        spread = xx - x * x / count
        slope = max(0.0, (xy - x * y / count) / spread) if spread > 1e-3 * count else 0.0
        slope = min(slope, y / x)  # a batch of none takes no less than nothing
        return y / count + slope * (size - x / count)

    def good_batch(self, clients: int) -> int:
        """How many clients a group has when the round of all groups is shortest; asked after every question,
        worked out after every batch."""
        if clients not in self._good:
            self._good[clients] = self._find_good_batch(clients)
        return self._good[clients]

    def _find_good_batch(self, clients: int) -> int:
        known = [rhythm.mean_s for rhythm in self._rhythms.values() if rhythm.mean_s is not None]
        if not known or not self._sums[0]:
            return clients
        think_s = sum(known) / len(known)

        def round_s(groups: int) -> float:
            alone_s = self.model_s(math.ceil(clients / groups))
            # To the microsecond: of equal rounds that of the smaller groups, which teaches model_s more.
            return round(max(SLACK * groups * alone_s if groups > 1 else 0.0, think_s + alone_s), 6)

        best = min(range(1, clients + 1), key=lambda groups: (round_s(groups), -groups))
        return math.ceil(clients / best)

    def worth_waiting_s(self, waiting: int, clients: int, now: float) -> float | None:
        """How long `waiting` queries should wait for the next client; 0 not at all, None if nothing is known
        of some who might come.

        Compares, for every number of clients that could be waited for, the time that all lose together:
        those who wait until the last of these has come and in a larger batch, and those who come while the
        model is then at work.
        """
        absent = [rhythm for client, rhythm in self._rhythms.items() if client not in self._asking]
        if clients - waiting > len(absent):
            return None
        due = sorted(left for rhythm in absent if (left := rhythm.due_in(now)) is not None)
        if not due:
            return 0.0
        sums = list(accumulate(due, initial=0.0))

        def lost_s(more: int) -> float:
            start = due[more - 1] if more else 0.0
            size = waiting + more
            took = self.model_s(size)
            met = bisect_left(due, start + took)  # who has come by the end of the pass
            late = max(0, met - more) * (start + took) - (sums[max(met, more)] - sums[more])
            return size * start - sums[more] + waiting * (took - self.model_s(waiting)) + late

        best = min(range(len(due) + 1), key=lost_s)
        return due[0] if best else 0.0
