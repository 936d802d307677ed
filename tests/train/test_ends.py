"""Many ends become one."""

from __future__ import annotations

from itertools import permutations

import pytest

from stair.train.ends import find_cause
from stair.train.rank import Note


def note(rank: int, code: int, time: float = 0.0, what: str = "") -> Note:
    return Note(rank, 100 + rank, code=code, time=time, what=what)


@pytest.mark.parametrize(
    ("notes", "code", "first"),
    [
        ([note(0, 0), note(1, 0)], 0, None),
        ([note(0, 75), note(1, 75)], 75, None),
        ([note(0, 0), note(1, 75)], 75, None),
        ([note(0, 76, 1.0), note(1, 76, 0.5)], 76, 1),
        ([note(0, 1, 2.0), note(1, 1, 1.0)], 1, 1),
        ([note(0, 2, 1.0), note(1, 1, 2.0)], 2, 0),
        ([note(0, 76, 1.0), note(1, 1, 2.0)], 1, 1),
        ([note(0, 76, 1.0), note(1, 70, 2.0)], 70, 1),
        ([note(0, 76, 1.0), note(1, -9, 1.3)], 76, 1),
        ([note(0, 70, 1.0), note(1, -9, 1.3)], 76, 1),  # it died before it was seen to
        ([note(0, 1, 1.0), note(1, -9, 31.0)], 1, 0),  # the agent killed it
        ([note(0, -15, 1.0), note(1, 70, 1.1)], 70, 1),  # the agent told it to end
        ([note(0, -15, 1.0), note(1, 0)], 76, 0),
        ([note(0, 75), note(1, 75), note(2, 1, 3.0)], 1, 2),
        ([note(0, 130, 1.0)], 70, 0),
    ],
)
def test_the_root_cause_decides(notes: list[Note], code: int, first: int | None):
    for order in permutations(notes):
        cause = find_cause(order, world=len(notes))
        assert cause.code == code
        assert (cause.first.rank if cause.first else None) == first


def test_the_words_name_rank_signal_and_what_was_said():
    assert find_cause([note(1, -9)], 4).what.startswith(
        "rank 1 of 4 was killed by SIGKILL, often for want of"
    )
    assert find_cause([note(1, -11)], 4).what == "rank 1 of 4 was killed by SIGSEGV"
    assert find_cause([note(3, 1, what="no data")], 4).what == "rank 3 of 4 failed first, exit 1: no data"
    lost = [note(0, 76, 1.0, "process 0 lost another one: x"), note(1, 76, 2.0, "y")]
    assert find_cause(lost, 4).what == "process 0 lost another one: x (and 1 more here)"
