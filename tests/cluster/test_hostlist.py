"""Host lists become names and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stair.cluster.hostlist import compress, expand
from stair.errors import UsageError

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,5}[0-9]{0,4}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ""),
        ("n", "n"),
        ("n1,n2", "n1 n2"),
        ("n[1-3,007-010]", "n1 n2 n3 n007 n008 n009 n010"),
        ("gpu-a[1-2]b[3,5]", "gpu-a1b3 gpu-a1b5 gpu-a2b3 gpu-a2b5"),
        ("a[08-11],b", "a08 a09 a10 a11 b"),
        ("a[9-11]", "a9 a10 a11"),
        ("a[1,1,3]", "a1 a1 a3"),
        ("a[01-3]", "a01 a02 a03"),
        ("n[1-2]-ib", "n1-ib n2-ib"),
        ("n1, n2\nn3", "n1 n2 n3"),
    ],
)
def test_lists_are_expanded_in_their_order_with_their_zeros(text: str, names: str):
    assert expand(text) == tuple(names.split())


@pytest.mark.parametrize("text", ["a[3-1]", "a[]", "a[1", "a1]", "a[[1]]", "x[a-c]", "x[1-2,a]", "x[1-]"])
def test_what_is_no_host_list_is_refused(text: str):
    with pytest.raises(UsageError, match="no list of hosts"):
        expand(text)


@pytest.mark.parametrize("text", ["n[0-999999999]", "a[0-999]b[0-999]c[0-999]"])
def test_a_list_of_more_hosts_than_there_can_be_is_refused_at_once(text: str):
    with pytest.raises(UsageError, match="more than 100,000 hosts"):
        expand(text)


@given(st.lists(NAMES, max_size=40))
def test_a_compressed_list_means_the_same_hosts(names: list[str]):
    short = compress(names)
    assert sorted(expand(short)) == sorted(set(names))


@given(st.integers(0, 2000), st.integers(0, 60), st.integers(0, 5))
def test_a_run_of_numbers_becomes_one_range(first: int, length: int, width: int):
    names = [f"node{str(number).zfill(width)}" for number in range(first, first + length + 1)]
    short = compress(reversed(names))
    assert expand(short) == tuple(names)
    assert short == names[0] if not length else short.count("-") == 1


def test_names_without_a_number_stay_as_they_are():
    assert compress(["login", "n2", "n1", "login"]) == "login,n[1-2]"
