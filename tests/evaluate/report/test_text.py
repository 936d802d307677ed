"""The tables' cells: every row is as wide as its head, and nothing claims more than it has."""

from dataclasses import replace

import pytest

from stair.evaluate.report import text
from stair.evaluate.report.reading import read_report
from tests.evaluate.test_episodes import record
from tests.fakes.simpler_run import WIDOWX, simpler_records, write_run


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    """Three of WidowX's four tasks, one of the Google robot's, and a task of errors alone."""
    records = simpler_records((*WIDOWX[:3], "google_robot_open_top_drawer"))
    lost = record(0, error="lost")
    folder = write_run(tmp_path_factory.mktemp("text"), [*records, lost])
    return read_report(folder).evaluations[0]


def test_rows_are_as_wide_as_their_heads(evaluation):
    for columns, rows in (
        (text.COLUMNS, text.rows(evaluation)),
        (text.COLUMNS, text.look_rows(evaluation)),
        (text.NARROW_COLUMNS, text.narrow_rows(evaluation)),
        (text.PARTIAL_COLUMNS, text.partial_rows(evaluation)),
    ):
        assert rows
        assert {len(row) for row in rows} == {len(columns)}


def test_an_incomplete_suite_says_so_and_names_what_it_lacks(evaluation):
    names = [row[0] for row in text.rows(evaluation)]
    assert "WidowX, visual matching, incomplete" in names
    told = text.incomplete_in_words(evaluation)
    assert told[0] == "WidowX, visual matching: without widowx_put_eggplant_in_basket"
    assert told[1].endswith("google_robot_close_middle_drawer and 2 more")


def test_a_task_of_errors_alone_has_no_rate(evaluation):
    assert ("put", "–", "–", "0", "–", "1") in text.narrow_rows(evaluation)
    assert "put" not in text.needed_in_words(evaluation, 0.05)


def test_looks_are_told_one_by_one_where_a_row_averages_them(evaluation):
    named = {row[0] for row in text.look_rows(evaluation)}
    assert "google_robot_open_top_drawer (vm-arm3)" in named
    assert len(named) == 4 + 7


def test_what_the_simulator_calls_success_is_no_partial_success(evaluation):
    assert {row[1] for row in text.partial_rows(evaluation)} == {"is_src_obj_grasped"}


def test_steps_to_success_are_weighed_by_successes(evaluation):
    (row,) = (row for row in text.rows(evaluation) if row[0] == "widowx_stack_cube")
    assert row[text.COLUMNS.index("first success")] == "20.0"


def test_episodes_that_were_begun_again_are_told_with_their_faults(tmp_path):
    died, hung = "the simulator process died (exit code -9)", "it hung"
    records = [replace(record(n), attempts=2, faults=(died,)) for n in range(3)]
    records += [replace(record(3), attempts=3, faults=(hung, died)), record(4)]
    (told,) = read_report(write_run(tmp_path, records)).evaluations
    assert told.tasks[0].retried == 4
    assert text.retried_in_words(told) == (
        f"4 episodes came to their end after more than one attempt: 4 × {died}, 1 × it hung"
    )


def test_nothing_is_said_of_retries_where_there_were_none(evaluation):
    assert text.retried_in_words(evaluation) == ""


@pytest.mark.parametrize(("wall_s", "said"), [(7200.0, "2.0 hours"), (90.0, "1.5 minutes")])
def test_time_is_told_in_the_unit_that_fits(evaluation, wall_s, said):
    task = replace(evaluation.tasks[0], wall_s=wall_s, times_s={"policy": wall_s / 4})
    told = text.wall_in_words(replace(evaluation, tasks=[task]))
    assert told == f"{said} of episodes, added up over workers: policy 25 %"
