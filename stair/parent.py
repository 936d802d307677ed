"""A process that ends when the one that started it is gone; standard library only, on Linux only."""

from __future__ import annotations

import ctypes
import sys

PR_SET_PDEATHSIG = 1
"""prctl(2)"""


def die_with_parent(number: int) -> None:
    """This process gets signal `number` when its parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
