"""Who works on a step."""

from __future__ import annotations

from pathlib import Path

from stair.rundir import RunDir
from stair.submit.claim import Watch, claim, claim_file, is_cancelled, is_replaced
from stair.submit.seat import Seat
from tests.submit.scripted import a_step

FIRST = Seat("7", "7", None, 0, ("n1",))
REQUEUED = Seat("7", "7", None, 1, ("n3",))
SENT_AGAIN = Seat("8", "8", None, 0, ("n4",))


def test_the_attempt_that_began_last_has_the_step(tmp_path: Path):
    run, step = RunDir(tmp_path), a_step(tmp_path, "one", "pass")
    assert not is_replaced(run, step, FIRST)
    for newest in (FIRST, REQUEUED, SENT_AGAIN):
        claim(run, step, newest)
        others = {FIRST, REQUEUED, SENT_AGAIN} - {newest}
        assert not is_replaced(run, step, newest)
        assert all(is_replaced(run, step, other) for other in others)


def test_an_attempt_that_stood_still_on_its_way_does_not_take_the_step_from_the_next_one(tmp_path: Path):
    run, step = RunDir(tmp_path), a_step(tmp_path, "one", "pass")
    for seat in (REQUEUED, FIRST):
        claim(run, step, seat)
    assert is_replaced(run, step, FIRST)
    assert not is_replaced(run, step, REQUEUED)


def test_a_run_is_cancelled_when_its_marker_is_there_whatever_it_says(tmp_path: Path):
    assert not is_cancelled(RunDir(tmp_path))
    (tmp_path / "cancelled").touch()
    assert is_cancelled(RunDir(tmp_path))


def test_members_of_an_array_do_not_replace_each_other(tmp_path: Path):
    run, step = RunDir(tmp_path), a_step(tmp_path, "one", "pass")
    claim(run, step.of_member(3), Seat("7_3", "10", 3, 0, ("n1",)))
    claim(run, step.of_member(4), Seat("7_4", "11", 4, 0, ("n1",)))
    assert not is_replaced(run, step.of_member(3), Seat("7_3", "10", 3, 0, ("n1",)))


def test_a_broken_file_replaces_nobody(tmp_path: Path):
    run, step = RunDir(tmp_path), a_step(tmp_path, "one", "pass")
    claim(run, step, FIRST)
    claim_file(run, step).write_text("{")
    assert not is_replaced(run, step, REQUEUED)


def test_a_watch_looks_now_and_then_and_does_not_forget(tmp_path: Path):
    run, step = RunDir(tmp_path), a_step(tmp_path, "one", "pass")
    claim(run, step, REQUEUED)
    assert not Watch(run, step, FIRST, every_s=60.0)()
    watch = Watch(run, step, FIRST, every_s=0.0)
    assert watch()
    claim_file(run, step).unlink()
    assert watch()
