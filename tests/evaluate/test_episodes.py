"""Records go to their file and come back; sums count what they should."""

from dataclasses import replace

import pytest

from stair.errors import StairError
from stair.evaluate.episodes import EpisodeRecord, append_record, read_records, summarise


def record(episode_id, *, success=False, ever=False, error="", task="put", variant="", steps=60):
    return EpisodeRecord(
        key=f"{task}/ep{episode_id:04d}" + (f"/{variant}" if variant else ""),
        task=task,
        episode_id=episode_id,
        variant=variant,
        instruction="put it “there”",
        success=success,
        success_ever=success or ever,
        first_success=10 + episode_id if success or ever else None,
        steps=steps,
        queries=steps,
        wall_s=0.5,
        seed=0,
        policy="p",
        error=error,
    )


def test_records_come_back_equal_and_in_order(tmp_path):
    records = [record(2), record(0, success=True), record(1, task="lift"), record(1, variant="swapped")]
    for one in records:
        append_record(tmp_path, one)
    assert read_records(tmp_path) == [records[2], records[1], records[0], records[3]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lift.jsonl", "put.jsonl"]


def test_of_two_lines_with_one_key_the_later_counts(tmp_path):
    append_record(tmp_path, record(0, error="it broke"))
    append_record(tmp_path, record(0, success=True))
    assert read_records(tmp_path) == [record(0, success=True)]


def test_a_line_cut_off_by_a_crash_is_no_record(tmp_path):
    append_record(tmp_path, record(0))
    with (tmp_path / "put.jsonl").open("a") as file:
        file.write('{"key": "put/ep0001", "tas')
    assert read_records(tmp_path) == [record(0)]


def test_what_a_newer_version_adds_is_left_out(tmp_path):
    append_record(tmp_path, record(0))
    text = (tmp_path / "put.jsonl").read_text()
    (tmp_path / "put.jsonl").write_text(text.replace('{"key"', '{"mood": "fine", "key"'))
    assert read_records(tmp_path) == [record(0)]


@pytest.mark.parametrize("line", ['{"key": "put/ep0000"}', "[1]", "nonsense"])
def test_a_line_that_is_no_record_is_named(tmp_path, line):
    (tmp_path / "put.jsonl").write_text(line + "\n")
    with pytest.raises(StairError, match=r"put\.jsonl"):
        read_records(tmp_path)


def test_the_sums_count_last_step_ever_and_errors_apart():
    records = [
        record(0, success=True),
        record(1, ever=True),
        record(2),
        record(3, error="it broke", steps=0),
        record(4, success=True, variant="swapped"),
    ]
    plain, swapped = summarise(records)
    assert (plain.episodes, plain.successes, plain.successes_ever, plain.errors) == (3, 1, 2, 1)
    assert plain.rate == pytest.approx(1 / 3)
    assert plain.mean_steps == 60
    assert plain.mean_first_success == 10.5
    assert plain.interval == pytest.approx((0.0615, 0.7923), abs=1e-4)
    assert plain.in_words() == "1/3 = 33 % (95 % interval 6–79 %)"
    assert (swapped.name, swapped.rate) == ("put (swapped)", 1.0)


def test_a_task_of_errors_alone_has_no_rate_to_show():
    (summary,) = summarise([record(0, error="it broke")])
    assert summary.in_words() == "no finished episode"
    assert summary.mean_first_success is None


def test_half_a_line_is_not_glued_to_the_next_record(tmp_path):
    append_record(tmp_path, record(0))
    file = tmp_path / f"{record(0).task}.jsonl"
    file.write_text(file.read_text() + '{"key": "half a li')
    append_record(tmp_path, record(1))
    assert [one.episode_id for one in read_records(tmp_path)] == [0, 1]
    file.write_text("half")
    append_record(tmp_path, record(2))
    assert [one.episode_id for one in read_records(tmp_path)] == [2]


def test_what_went_wrong_before_is_read_back_as_it_was(tmp_path):
    twice = replace(record(0), attempts=3, faults=("it died", "it hung"), times_s={"policy": 1.5})
    append_record(tmp_path, twice)
    (back,) = read_records(tmp_path)
    assert (back, back.times_s) == (twice, {"policy": 1.5})
