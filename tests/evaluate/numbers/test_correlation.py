"""MMRV and Pearson: the values that SIMPLER's own script gives for its own table, and their definitions."""

import pytest

from stair.evaluate.numbers.correlation import mmrv, pearson
from stair.evaluate.numbers.published import PUBLISHED

VERIFIED = {
    # tools/calc_metrics.py of SimplerEnv, run on its tables.
    "google_robot_pick_coke_can": (0.0313, 0.9754),
    "google_robot_move_near": (0.1110, 0.8561),
    "google_robot_open_drawer": (0.0, 0.9832),
    "google_robot_close_drawer": (0.1233, 0.7712),
    "google_robot_place_apple_in_closed_top_drawer": (0.0, 0.9692),
    "widowx_spoon_on_towel": (0.0, 0.8269),
    "widowx_carrot_on_plate": (0.1113, 0.5714),
    "widowx_stack_cube": (0.0, 1.0),
    "widowx_put_eggplant_in_basket": (0.0, 0.9894),
}


@pytest.mark.parametrize("task", VERIFIED)
def test_the_published_table_gives_the_published_values(task):
    real, simulated = zip(*PUBLISHED[task].values(), strict=True)
    assert (round(mmrv(simulated, real), 4), round(pearson(simulated, real), 4)) == VERIFIED[task]


def test_every_published_task_is_verified():
    assert set(PUBLISHED) == set(VERIFIED)


def test_the_order_of_the_arguments_matters():
    simulated, real = (0.1, 0.9), (0.50, 0.45)
    assert mmrv(simulated, real) == pytest.approx(0.05)
    assert mmrv(real, simulated) == pytest.approx(0.8)


def test_a_tie_in_one_that_is_none_in_the_other_is_a_violation_for_one_of_the_two():
    # For the lower policy (sim_i > sim_j) == (real_i > real_j) == False: only the upper one sees it.
    assert mmrv((0.3, 0.3), (0.2, 0.6)) == pytest.approx(0.2)


def test_equal_but_for_a_constant_is_a_correlation_of_one_even_without_spread():
    assert pearson((0.2, 0.2), (0.5, 0.5)) == 1.0
    assert pearson((0.1, 0.3), (0.9, 0.1)) == pytest.approx(-1.0, abs=1e-6)


def test_lists_that_do_not_belong_together_are_refused():
    for sides in (((0.1,), (0.1, 0.2)), ((), ())):
        for measure in (mmrv, pearson):
            with pytest.raises(ValueError, match="success rates"):
                measure(*sides)
