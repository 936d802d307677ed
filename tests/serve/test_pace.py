"""What is a good batch, and whether it pays to wait for the next client."""

import pytest

from stair.serve.pace import Pace


def learnt(clients, think_s, fixed_s, each_s, *, sizes=(1, 2, 3, 4)):
    """A pace that has seen clients think this long and the model take fixed + size · each; it is 100 s now,
    and everybody was answered just then."""
    pace = Pace()
    for client in range(clients):
        for turn in range(4):
            pace.answered(client, turn * 10.0)
            pace.asked(client, turn * 10.0 + think_s)
        pace.answered(client, 100.0)
    for size in sizes:
        pace.ran(size, fixed_s + size * each_s)
    return pace


@pytest.mark.parametrize(
    ("clients", "think_s", "fixed_s", "each_s", "groups_of"),
    [
        (16, 0.040, 0.020, 0.001, 8),  # two groups: while one steps, the other is served
        (4, 0.040, 0.020, 0.001, 2),
        (1, 0.040, 0.020, 0.001, 1),
        (16, 0.001, 0.020, 0.001, 16),  # the model never rests: the largest batches
        (16, 0.500, 0.010, 0.001, 1),  # nearly never two at once: nobody waits for anybody
        (16, 0.040, 0.000, 0.010, 1),  # batches save nothing
    ],
)
def test_clients_are_grouped_so_that_the_round_is_shortest(clients, think_s, fixed_s, each_s, groups_of):
    assert learnt(clients, think_s, fixed_s, each_s).good_batch(clients) == groups_of


def test_before_anything_is_known_all_are_one_batch():
    assert Pace().good_batch(7) == 7
    assert Pace().model_s(3) == 0


def test_the_models_time_is_a_line_through_what_was_seen():
    pace = learnt(1, 0.04, 0.02, 0.003)
    assert pace.model_s(1) == pytest.approx(0.023)
    assert pace.model_s(10) == pytest.approx(0.05)
    one_size = learnt(1, 0.04, 0.02, 0.003, sizes=(4, 4))
    assert one_size.model_s(1) == one_size.model_s(9) == pytest.approx(0.032)


def test_a_model_that_was_faster_on_more_is_not_believed():
    pace = Pace()
    pace.ran(1, 0.5)
    pace.ran(8, 0.1)
    assert pace.model_s(1) == pace.model_s(8)


def test_it_pays_to_wait_for_who_comes_soon_and_not_for_who_comes_late():
    pace = learnt(3, 0.040, 0.020, 0.001)
    pace.asked(0, 100.030)
    soon = pace.worth_waiting_s(1, 3, 100.035)
    assert soon == pytest.approx(0.005)  # the two others are due at 100.040
    assert pace.worth_waiting_s(1, 3, 100.020) == 0  # 20 ms are not worth a pass of 21 ms


def test_the_more_wait_the_less_it_pays():
    pace = learnt(12, 0.040, 0.020, 0.001)
    for client in range(10):
        pace.asked(client, 100.035)
    assert pace.worth_waiting_s(10, 12, 100.036) == 0  # 4 ms for each of eleven: more than a pass of 30 ms
    pace = learnt(2, 0.040, 0.020, 0.001)
    pace.asked(0, 100.035)
    assert pace.worth_waiting_s(1, 2, 100.036) == pytest.approx(0.004)


def test_who_is_overdue_is_not_waited_for():
    pace = learnt(2, 0.040, 0.020, 0.001)
    pace.asked(0, 100.040)
    assert pace.worth_waiting_s(1, 2, 100.0405) is not None
    assert pace.worth_waiting_s(1, 2, 100.050) == 0  # building a scene, or hanging


def test_of_a_client_that_never_asked_nothing_is_known():
    pace = learnt(2, 0.040, 0.020, 0.001)
    pace.asked(0, 100.040)
    assert pace.worth_waiting_s(1, 3, 100.040) is None


def test_who_has_left_is_not_waited_for():
    pace = learnt(2, 0.040, 0.020, 0.001)
    pace.asked(0, 100.039)
    assert pace.worth_waiting_s(1, 2, 100.039) == pytest.approx(0.001)
    pace.left(1)
    assert pace.worth_waiting_s(1, 1, 100.039) == 0


def test_a_new_scene_does_not_change_a_rhythm_much():
    pace = learnt(1, 0.040, 0.020, 0.001)
    pace.asked(0, 120.0)  # 20 s after its answer
    pace.answered(0, 120.0)
    pace.asked(1, 120.0)
    assert pace._rhythms[0].due_in(120.0) == pytest.approx(0.057 + 0.016, abs=0.002)
