"""Paired comparison against published values, by simulation, and through the command."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from stair.evaluate.comparison import Paired, compare, pair, paired_interval
from stair.evaluate.episodes import append_record
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
