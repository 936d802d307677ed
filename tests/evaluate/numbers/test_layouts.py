"""Cells stand where the starts are, and count what was played there."""

from dataclasses import replace

import pytest

from stair.evaluate.numbers.layouts import grid_lines, layouts_of
from stair.sim.simpler_grid import POSES
from tests.evaluate.test_episodes import record
from tests.fakes.simpler_run import simpler_records


def test_layouts_without_a_place_stand_in_their_order():
    (one,) = layouts_of([record(5), record(2, success=True), record(9, error="lost")])
    assert [cell.episode_id for cell in one.cells] == [2, 5, 9]
    assert [(cell.last, cell.episodes, cell.errors) for cell in one.cells] == [
        (1, 1, 0),
        (0, 1, 0),
        (0, 0, 1),
    ]
    assert not one.plots
    assert not one.repeated


def test_repeats_of_a_layout_are_averaged():
    records = [replace(record(0, success=seed < 1, ever=seed < 2), seed=seed) for seed in range(4)]
    (one,) = layouts_of(records)
    assert one.repeated
    assert (one.cells[0].last, one.cells[0].ever, one.cells[0].episodes) == (0.25, 0.5, 4)


def test_the_cans_places_are_a_plane_per_orientation_over_all_looks():
    records = simpler_records(["google_robot_pick_coke_can"], settings=["visual-matching"])
    hit = [replace(r, success=r.episode_id == 7) for r in records]  # second x, third y of the first pose
    (one,) = layouts_of(hit)
    assert [plot.title for plot in one.plots] == ["lr_switch", "upright", "laid_vertically"]
    first = one.plots[0]
    assert (len(first.rows), len(first.rows[0])) == (5, 5)
    assert first.xs[0] == -0.35
    assert [[cell.last for cell in row if cell] for row in first.rows][1] == [0, 0, 1.0, 0, 0]
    assert {cell.episodes for row in first.rows for cell in row if cell} == {4}


def test_the_robots_poses_before_the_drawers_are_three_by_three():
    records = simpler_records(["google_robot_open_drawer"], settings=["visual-matching"])
    hit = [replace(r, success=r.episode_id == list(POSES).index("b2")) for r in records]
    (one,) = layouts_of(hit)
    assert [plot.title for plot in one.plots] == ["OpenTop", "OpenMiddle", "OpenBottom"]
    assert [[cell.last for cell in row if cell] for row in one.plots[0].rows] == [
        [0, 0, 0],
        [0, 0, 0],
        [0, 1, 0],
    ]


def test_the_apple_has_a_plane_for_each_pose_of_the_robot_and_setting():
    maps = layouts_of(simpler_records(["google_robot_place_apple_in_closed_top_drawer"]))
    assert [one.setting for one in maps] == ["visual-matching", "variant-aggregation"]
    for one in maps:
        assert len(one.plots) == 3
        assert all(None not in row and len(row) == 3 for plot in one.plots for row in plot.rows)


def test_what_was_not_played_leaves_a_hole():
    records = simpler_records(["google_robot_open_top_drawer"], settings=["visual-matching"])
    (one,) = layouts_of([r for r in records if r.episode_id != 4])
    assert one.plots[0].rows[1][1] is None


@pytest.mark.parametrize("values", [[1.0], [1.0, 1.0], []])
def test_few_values_make_few_lines(values):
    assert grid_lines(values) == tuple(sorted(set(values)))
