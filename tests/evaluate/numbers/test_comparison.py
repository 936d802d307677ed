"""Paired comparison against published values, by simulation, and through the command."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stair.errors import StairError
from stair.evaluate.episodes import append_record
from stair.evaluate.numbers.comparison import (
    Paired,
    compare,
    compare_reports,
    design_effect,
    pair,
    paired_interval,
)
from stair.evaluate.report.reading import Folder, joined
from stair.report.cli import main
from stair.rundir import RunDir
from tests.evaluate.test_episodes import record


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17, 2635-2650, table III, method 10.
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((36, 14, 0, 0), 0.1528, 0.4167),
        ((20, 12, 2, 16), 0.0562, 0.3292),
    ],
)
def test_published_intervals_are_met(table: tuple[int, int, int, int], low: float, high: float):
    assert paired_interval(*table) == pytest.approx((low, high), abs=5e-4)


def test_two_equal_policies_are_called_different_in_at_most_one_of_twenty():
    rng, called, runs = random.Random(5), 0, 1000
    for _ in range(runs):
        counts = [0, 0, 0, 0]
        for _ in range(rng.choice([24, 48, 96, 300])):
            chance = rng.betavariate(0.7, 0.7)  # layouts are easy or hard for both
            counts[2 * (rng.random() >= chance) + (rng.random() >= chance)] += 1
        called += Paired(*counts).distinguishable
    assert 0 < called <= 0.05 * runs


def test_equal_policies_are_not_called_different_more_often_when_layouts_are_repeated():
    """Equal on the whole, but each better on its own layouts: eight looks of 24 layouts are no 192 points."""
    rng, called, naive, runs = np.random.default_rng(7), 0, 0, 1000
    for _ in range(runs):
        chances = np.where(rng.random((24, 1)) < 0.5, 0.7, 0.3)
        one, two = rng.random((24, 8)) < chances, rng.random((24, 8)) < 1 - chances
        counts = [int((a & b).sum()) for a in (one, ~one) for b in (two, ~two)]
        found = Paired(*counts, alike=design_effect((one * 1 - two).tolist()))
        called += found.distinguishable
        naive += replace(found, alike=1.0).distinguishable
    assert called <= 0.05 * runs
    assert naive > 0.1 * runs  # the planted case is one that a plain test gets wrong


def test_looks_of_a_layout_make_its_design_effect():
    one = [record(n, success=n < 12, variant=look) for n in range(24) for look in "abcd"]
    two = [record(n, success=12 <= n < 20, variant=look) for n in range(24) for look in "abcd"]
    assert pair(one, two).alike == pytest.approx(4, rel=0.05)
    assert pair(one[::4], two[::4]).alike == 1.0


def test_a_design_effect_is_one_for_single_points_and_the_number_of_copies_for_copies():
    assert design_effect([[1], [-1], [0], [1]]) == 1.0
    values = [1.0, -1.0] * 500
    assert design_effect([[value] * 4 for value in values]) == pytest.approx(4, rel=0.01)
    assert design_effect([[0, 0], [0, 0]]) == 1.0


def test_copies_of_points_leave_verdict_and_interval_as_wide_as_their_layouts():
    single = Paired(both=8, only_first=8, only_second=2, neither=6)
    copied = Paired(both=32, only_first=32, only_second=8, neither=24, alike=4.0)
    assert copied.p_value == single.p_value
    assert copied.difference == single.difference
    widths = [high - low for low, high in (single.interval, copied.interval)]
    assert widths[1] == pytest.approx(widths[0], rel=0.05)


def test_repeats_are_paired_by_their_seeds():
    one = [record(0, success=True), replace(record(0, success=False), seed=1)]
    two = [replace(record(0, success=True), seed=5)]
    assert pair(one, two) == Paired(1, 0, 0, 0, unpaired=1)


def evaluations(**named):
    return joined([Folder(name, {}, records) for name, records in named.items()])


def test_evaluations_of_one_name_are_compared_with_each_other():
    left = evaluations(base=[record(0, success=True)], tuned=[record(0, success=False)])
    right = evaluations(tuned=[record(0, success=True)], other=[record(0)])
    (found,) = compare_reports(left, right)
    assert found.name == "tuned: put"
    assert found.last == Paired(0, 0, 1, 0)
    with pytest.raises(StairError, match="base, tuned and other, more"):
        compare_reports(left, evaluations(other=[record(0)], more=[record(0)]))


def test_runs_without_a_common_task_are_told_apart():
    with pytest.raises(StairError, match="no task in common"):
        compare_reports(evaluations(a=[record(0)]), evaluations(b=[record(0, task="lift")]))


def test_pairing_sees_what_two_intervals_apart_would_not():
    paired = Paired(both=40, only_first=12, only_second=2, neither=42)
    assert paired.distinguishable
    assert paired.difference == pytest.approx(10 / 96)
    assert "not distinguishable" in Paired(both=40, only_first=8, only_second=5, neither=43).in_words()


def test_no_common_point_tells_nothing():
    assert Paired(0, 0, 0, 0).interval == (-1.0, 1.0)
    assert Paired(0, 0, 0, 0).in_words() == "no grid point in common"


def test_errors_and_points_of_one_run_only_are_unpaired():
    one = [record(0, success=True), record(1, success=False), record(2, success=True)]
    two = [record(0, success=False), record(1, success=False, error="boom"), record(3, success=True)]
    assert pair(one, two) == Paired(0, 1, 0, 0, unpaired=3)


def test_several_tasks_are_joined_at_the_end():
    one = [record(0, success=True), replace(record(0, success=True), task="other", key="other/ep0000")]
    found = compare(one, one)
    assert [comparison.name for comparison in found] == [one[0].task, "other", "all tasks"]
    assert found[-1].last == Paired(2, 0, 0, 0)


def test_the_command_compares_two_run_folders(tmp_path: Path, capsys: pytest.CaptureFixture):
    for name, wins in (("a", 30), ("b", 10)):
        episodes = RunDir(tmp_path / name).create().episodes
        for number in range(48):
            append_record(episodes, record(number, success=number < wins))
    words = [str(tmp_path / "a"), "--against", str(tmp_path / "b")]
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["comparison"][0]["success"]
    assert told["difference"] == pytest.approx(20 / 48)
    assert told["distinguishable"]
    assert main(words) == 0
    assert "+41.7 points" in capsys.readouterr().out
