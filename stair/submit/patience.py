"""A question to slurmctld, asked again until it is answered: a restart or a failover takes minutes.

Takes a function that asks and one that tells a good answer, hands on the first good one, or the last.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from stair.console import say

T = TypeVar("T")

PATIENCE_S = 1800.0
"""How long a slurmctld that does not answer is waited for by a job, which has nothing better to do."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 15.0


def patiently(
    ask: Callable[[], T],
    good: Callable[[T], bool],
    *,
    give_up: Callable[[], bool] = lambda: False,
    patience_s: float = PATIENCE_S,
) -> T:
    """Asks until the answer is good, `give_up` says to stop, or patience is over; returns the last answer."""
    deadline = time.monotonic() + patience_s
    pause_s, told = FIRST_PAUSE_S, False
    while True:
        answer = ask()
        if good(answer) or give_up() or time.monotonic() + pause_s > deadline:
            return answer
        if not told:
            say("slurmctld does not answer; it is asked until it does")
            told = True
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
