"""Averages as the protocol says, and never of less than they claim."""

from dataclasses import replace

import pytest

from stair.evaluate.numbers.suites import SUITES, setting_of
from stair.evaluate.report.reading import Folder, joined
from stair.sim.simpler_grid import GRIDS, looks
from tests.evaluate.test_episodes import record
from tests.fakes.simpler_run import GOOGLE, WIDOWX, simpler_records


def evaluation(records):
    (found,) = joined([Folder("", {}, list(records))])
    return found


def suites(records):
    return {mean.name: mean for mean in evaluation(records).suites}


def test_the_widowx_mean_is_of_four_tasks():
    records = simpler_records(WIDOWX)
    mean = suites(records)["WidowX, visual matching"]
    rates = [sum(r.success for r in records if r.task == task) / 24 for task in WIDOWX]
    assert mean.last.value == pytest.approx(sum(rates) / 4)
    assert mean.last.trials == 96
    assert not mean.missing
    assert mean.ever.value >= mean.last.value


def test_looks_count_alike_whatever_their_number_of_episodes():
    near = [r for r in simpler_records(["google_robot_move_near"]) if r.variant.startswith("vm-")]
    near = [replace(r, success=r.variant == "vm-arm0") for r in near]
    fewer = [r for r in near if r.variant != "vm-arm0" or r.episode_id < 10]
    (mean,) = evaluation(fewer).means
    assert mean.last.value == pytest.approx(0.25)
    assert mean.last.hits == 10


def test_google_has_four_columns_and_the_drawers_share_one():
    found = suites([replace(r, success="open_drawer" in r.task) for r in simpler_records(GOOGLE)])
    for name in ("Google robot, visual matching", "Google robot, variant aggregation"):
        assert found[name].last.value == pytest.approx(0.125)  # (0 + 0 + (1 + 0) / 2 + 0) / 4
        assert not found[name].missing
    assert [len(mean.parts) for mean in found.values()] == [4, 4]


def test_single_drawers_and_orientations_make_up_the_same_columns():
    whole = simpler_records(["google_robot_pick_coke_can"], settings=["visual-matching"])
    names = [f"google_robot_pick_{pose}_coke_can" for pose in ("horizontal", "vertical", "standing")]
    parts = simpler_records(names, settings=["visual-matching"])
    assert len(whole) == len(parts) == 300
    mean = suites(parts)["Google robot, visual matching"]
    assert mean.parts == ("pick coke can",)
    rates = [sum(r.success for r in parts if r.task == name) / 100 for name in names]
    assert mean.last.value == pytest.approx(sum(rates) / 3)


def test_what_is_missing_from_a_suite_is_named():
    records = simpler_records(["widowx_stack_cube", "google_robot_move_near"], settings=["visual-matching"])
    found = suites([r for r in records if r.variant != "vm-arm2"])
    assert found["WidowX, visual matching"].missing == tuple(t for t in WIDOWX if t != "widowx_stack_cube")
    assert "google_robot_move_near vm-arm2" in found["Google robot, visual matching"].missing
    assert "google_robot_pick_coke_can" in found["Google robot, visual matching"].missing


def test_starts_without_a_finished_episode_are_missing_too():
    records = simpler_records([*WIDOWX, "google_robot_move_near"], settings=["visual-matching"])
    lost = [replace(r, error="lost") if r.episode_id < 5 and "cube" in r.task else r for r in records]
    found = suites([r for r in lost if r.variant != "vm-arm1" or r.episode_id < 24])
    assert found["WidowX, visual matching"].missing == ("widowx_stack_cube 5 of 24 starts",)
    assert (
        "google_robot_move_near 36 of 60 starts of vm-arm1" in found["Google robot, visual matching"].missing
    )


def test_a_suite_without_a_finished_episode_is_not_told():
    assert suites([replace(r, error="lost") for r in simpler_records(["widowx_stack_cube"])]) == {}
    assert suites([record(0)]) == {}


def test_a_probe_is_a_line_of_its_own():
    found = evaluation([record(0, success=True), record(0, variant="swapped")])
    assert [mean.name for mean in found.means] == ["put", "put (swapped)"]


def test_every_suite_names_tasks_that_exist_in_its_setting():
    for suite in SUITES:
        for _, choices in suite.columns:
            for task in {name for choice in choices for name in choice}:
                assert suite.setting in GRIDS[task]
                assert {setting_of(task, look) for look in looks(task)[suite.setting]} == {suite.setting}
