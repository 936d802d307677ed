"""Plans become the scripts that sbatch gets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stair.submit.batches import array_words, cut, ranges
from stair.submit.plan import Batch


@given(st.integers(1, 6000), st.integers(1, 2000))
def test_the_parts_of_an_array_are_the_whole_and_none_is_too_long(members, longest):
    parts = cut(members, longest)
    assert [m for first, count in parts for m in range(first, first + count)] == list(range(members))
    assert max(count for _, count in parts) <= longest


@given(st.sets(st.integers(0, 300)))
def test_ranges_name_exactly_the_numbers(numbers):
    found = set()
    for part in filter(None, ranges(sorted(numbers)).split(",")):
        low, _, high = part.partition("-")
        found |= set(range(int(low), int(high or low) + 1))
    assert found == numbers


def test_an_array_counts_from_its_first_member():
    batch = Batch("eval.2", "eval", "", (), False, first=1001, count=999, parallel=32)
    assert array_words(batch, [1001, 1002, 1003, 1500]) == ["--array=0-2,499%32"]
    assert array_words(Batch("x", "x", "", (), False), []) == []
