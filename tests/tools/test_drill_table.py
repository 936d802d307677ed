"""The table of the drills: which line holds, which drills are done."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stair.errors import UsageError
from tools.drilling.cli import choose
from tools.drilling.drills import DRILLS
from tools.drilling.table import COLUMNS, Row, as_json, as_markdown

ROW = Row("rank-killed", "SIGKILL", "on", "done", "done", ("crash",), ("crash",), (20,))


@pytest.mark.parametrize(
    "other",
    [
        {"got": "failed"},
        {"causes": ("node",)},
        {"causes": ("crash", "crash")},
        {"differences": ("stage1 step 3: loss",)},
        {"trouble": ("stage2 waits for 4",)},
    ],
)
def test_a_line_holds_only_if_everything_is_as_expected(other: dict):
    assert ROW.holds
    assert not replace(ROW, **other).holds
    assert not as_json([ROW, replace(ROW, **other)])["holds"]


def test_the_table_has_a_line_for_every_drill():
    lines = as_markdown([ROW, replace(ROW, got="failed", differences=("stage1 step 3: a | b",))]).splitlines()
    assert lines[0].count("|") == len(COLUMNS) + 3
    assert lines[2].startswith("| ✓ | on | rank-killed | SIGKILL | done | done | crash, done | 20 | yes |")
    assert lines[3].startswith("| ✗ |")
    assert all(line.count("|") == lines[0].count("|") for line in lines)


def test_the_undisturbed_run_always_comes_first():
    assert [drill.name for drill in choose(["scancel", "rank-killed"], quick=False)] == [
        "undisturbed",
        "rank-killed",
        "scancel",
    ]
    assert choose([], quick=False) == list(DRILLS)
    assert 3 <= len(choose([], quick=True)) < len(DRILLS)


def test_unknown_drills_are_told_the_known_ones():
    with pytest.raises(UsageError, match="unknown drill 'scancle'") as error:
        choose(["scancle"], quick=False)
    assert "scancel" in error.value.hint
    with pytest.raises(UsageError):
        choose(["scancel"], quick=True)
