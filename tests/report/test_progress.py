"""How far a step is, from files as the trainer and the evaluation write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from stair.report.facts import StepFacts
from stair.report.progress import Progress, last_lines, read_progress, span
from stair.rundir import append_line
from tests.report.runs import write_episodes, write_metrics

TRAIN = {"train": {"steps": 2000, "data": {"batch_size": 50}}}
EVAL = {"eval": {"tasks": ["put", "take"], "episodes": 10}}


def test_training_tells_step_loss_rate_and_what_is_left(tmp_path: Path):
    step = StepFacts("stage1", "train", tmp_path, settings=TRAIN)
    assert read_progress(step) is None
    write_metrics(tmp_path, 1, 100, 200)
    found = read_progress(step)
    assert found is not None
    assert (found.done, found.of, found.loss, found.samples_per_s) == (200, 2000, 0.005, 100.0)
    assert found.left_s == 1800 * 50 / 100
    assert found.in_words(running=True) == "step 200 of 2000, loss 0.005, 100 samples/s, 15 min left"
    assert found.in_words(running=False) == "step 200 of 2000, loss 0.005"


def test_a_line_cut_off_in_mid_write_is_not_read(tmp_path: Path):
    write_metrics(tmp_path, 1, 100)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20')
    found = read_progress(StepFacts("stage1", "train", tmp_path, settings=TRAIN))
    assert found is not None
    assert found.done == 100


def test_only_the_end_of_a_long_file_is_read(tmp_path: Path):
    write_metrics(tmp_path, *range(1, 2001))
    assert len(last_lines(tmp_path / "metrics.jsonl", 1000)) < 30
    found = read_progress(StepFacts("stage1", "train", tmp_path, settings=TRAIN))
    assert found is not None
    assert found.done == 2000


def test_an_evaluation_tells_episodes_and_successes(tmp_path: Path):
    step = StepFacts("eval", "eval", tmp_path, settings=EVAL)
    assert read_progress(step) is None
    write_episodes(tmp_path, successes=3, failures=2, errors=1)
    found = read_progress(step)
    assert found is not None
    assert found.in_words(running=True) == "5 of 20 episodes, 3 successes, 1 errors"


def test_what_is_broken_is_no_progress(tmp_path: Path):
    append_line(tmp_path / "metrics.jsonl", ["not", "a", "metric"])
    assert read_progress(StepFacts("stage1", "train", tmp_path, settings=TRAIN)) is None
    assert read_progress(StepFacts("collect", "collect", tmp_path)) is None


def test_progress_without_a_rate_says_less():
    assert Progress(3, 0, "steps", 0.0).in_words(running=True) == "step 3"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 s"),
        (40, "40 s"),
        (754, "13 min"),
        (5300, "88 min"),
        (12_000, "3 h 20 min"),
        (7200, "2 h"),
        (190_000, "2 d 4 h"),
        (172_800, "2 d"),
    ],
)
def test_times_in_words(seconds: float, words: str):
    assert span(seconds) == words
