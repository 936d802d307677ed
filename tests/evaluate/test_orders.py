"""Who plays what next, and what becomes of lost episodes."""

from collections import Counter
from dataclasses import replace

import pytest

from stair.evaluate.orders import HOPELESS, Order, Orders, Scene
from stair.sim.contract import GridPoint
from tests.evaluate.test_episodes import record

A, B, C = ("a", ""), ("a", "dark"), ("c", "")


def orders(counts, retries=2):
    points = [GridPoint(scene[0], number, scene[1]) for scene, n in counts.items() for number in range(n)]
    return Orders([Order(point, False) for point in points], retries)


def take(left, scene=None, others=()):
    order = left.next(scene, others)
    assert order is not None
    return order


def drain(left, scene=None, others=()):
    found = []
    while order := left.next(scene, others):
        scene = order.scene
        found.append((order.scene, order.point.episode_id))
    return found


def test_a_process_stays_in_its_scene_until_that_is_played_out():
    left = orders({A: 3, B: 2, C: 4})
    assert take(left, A).scene == A
    assert len(left) == 8
    assert drain(left, A) == [*((A, n) for n in (1, 2)), *((C, n) for n in range(4)), (B, 0), (B, 1)]


def test_processes_spread_over_the_scenes():
    left = orders({A: 10, B: 10, C: 10})
    busy = []
    for _ in range(6):
        busy.append(take(left, None, busy).scene)
    assert Counter(busy) == {A: 2, B: 2, C: 2}


def test_who_has_played_out_his_scene_helps_where_most_is_left_for_each():
    left = orders({A: 9, B: 4, C: 1})
    assert take(left, ("other", ""), [A, A]).scene == B  # 4 for one instead of 9 for three


def test_every_order_is_given_once_however_processes_change():
    left, seen = orders({A: 7, B: 5, C: 1}), []
    scenes: list[Scene | None] = [None, None, None]
    turn = 0
    while order := left.next(scenes[turn % 3], [scene for scene in scenes if scene]):
        scenes[turn % 3] = order.scene
        seen.append(order.point.key)
        turn += 1
    assert len(seen) == len(set(seen)) == 13


def test_a_lost_order_comes_again_behind_the_others_with_what_happened():
    left = orders({A: 2})
    first = take(left)
    assert left.lost(first, "it died") is None
    assert [number for _, number in drain(left)] == [1, 0]
    left.lost(replace(first, faults=("it died",)), "it hung")
    assert take(left).faults == ("it died", "it hung")


@pytest.mark.parametrize("retries", [0, 2])
def test_an_order_that_is_lost_too_often_is_handed_back(retries):
    left = orders({A: 1}, retries)
    given_up = None
    for attempt in range(retries + 1):
        given_up = left.lost(take(left), "it died")
        assert (given_up is not None) == (attempt == retries)
    assert given_up is not None
    assert given_up.faults == ("it died",) * (retries + 1)
    assert not left


def failed(task):
    return replace(record(0), task=task, error="no mesh")


def test_a_task_in_which_nothing_works_is_given_up_in_all_its_variants():
    left = orders({A: 20, B: 20, C: 2})
    for _ in range(HOPELESS - 1):
        left.ended(failed("a"))
    assert not left.in_despair()
    left.ended(failed("a"))
    assert left.in_despair() == f"a: the first {HOPELESS} episodes all ended in errors, the last: no mesh"
    assert {scene for scene, _ in drain(left)} == {C}
    assert left.lost(Order(GridPoint("a", 19), False), "it died")  # does not come back to life


def test_one_episode_that_works_is_hope_enough():
    left = orders({A: 9})
    left.ended(replace(record(0), task="a"))
    for _ in range(2 * HOPELESS):
        left.ended(failed("a"))
    assert not left.hopeless
