"""Grid points are listed without any simulator, and what does not exist is refused."""

from __future__ import annotations

import pytest

from stair.errors import UsageError
from stair.sim.contract import GridPoint
from stair.sim.tasks import check_point, points


def test_points_are_the_asked_layouts_in_order():
    listed = points("tabletop", "tabletop_put_block", 100_000, 3, "swapped")
    assert listed == [GridPoint("tabletop_put_block", 100_000 + k, "swapped") for k in range(3)]
    assert listed[0].key == "tabletop_put_block/ep100000/swapped"


def test_no_points_are_no_points():
    assert points("tabletop", "tabletop_put_block", 0, 0) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("tabletpo", "tabletop_put_block", 0, 1), "did you mean 'tabletop'"),
        (("tabletop", "put_block", 0, 1), "did you mean 'tabletop_put_block'"),
        (("tabletop", "put_block", 0, 0), "unknown task"),
        (("tabletop", "tabletop_put_block", 0, 1, "swaped"), "did you mean 'swapped'"),
        (("tabletop", "tabletop_put_block", -2, 5), "no layout -2"),
        (("tabletop", "tabletop_put_block", 0, -1), "cannot visit -1"),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(arguments: tuple, says: str):
    with pytest.raises(UsageError) as caught:
        points(*arguments)
    assert says in str(caught.value)


def test_the_step_limit_is_the_tasks():
    assert check_point("tabletop", GridPoint("tabletop_put_block", 7)).step_limit == 60
