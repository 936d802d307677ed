"""Constraints and the nodes they leave, as Slurm reads them (held against a real sbatch in tests/slurm)."""

from __future__ import annotations

import pytest

from stair.cluster.features import choices, feature_names
from stair.errors import UsageError

NODES = {
    "n1": frozenset({"h100", "ib"}),
    "n2": frozenset({"h100"}),
    "n3": frozenset({"a100", "ib"}),
    "n4": frozenset({"a100"}),
}


@pytest.mark.parametrize(
    ("constraint", "left"),
    [
        ("", ["n1 n2 n3 n4"]),
        ("ib", ["n1 n3"]),
        ("h100&ib", ["n1"]),
        ("h100,ib", ["n1"]),
        ("h100|a100", ["n1 n2 n3 n4"]),
        ("h100|a100&ib", ["n1 n3"]),
        ("h100|(a100&ib)", ["n1 n2 n3"]),
        ("(h100|a100) & ib", ["n1 n3"]),
        ("[h100|a100]", ["n1 n2", "n3 n4"]),
        ("[h100|a100]&ib", ["n1", "n3"]),
        ("ib&[h100|a100]", ["n1", "n3"]),
        ("v100", [""]),
    ],
)
def test_what_a_constraint_leaves(constraint: str, left: list[str]):
    assert [" ".join(sorted(choice.allowed)) for choice in choices(constraint, NODES)] == left


def test_counts_ask_for_some_of_a_kind_and_leave_all_nodes():
    (choice,) = choices("[h100*1&a100*2]", NODES)
    assert choice.allowed == set(NODES)
    assert [(name, count, sorted(have)) for name, count, have in choice.least] == [
        ("h100", 1, ["n1", "n2"]),
        ("a100", 2, ["n3", "n4"]),
    ]


@pytest.mark.parametrize("text", ["a&", "&a", "a b", "(a", "a)", "[a|b", "a*", "a*x", "a*0", "a||b", "[]"])
def test_what_slurm_cannot_read_is_refused(text: str):
    with pytest.raises(UsageError, match="cannot be read"):
        choices(text, NODES)


def test_names_of_features():
    assert feature_names("[a*2&b*1]|(c&d)") == ("a", "b", "c", "d")
    assert feature_names(" ") == ()
