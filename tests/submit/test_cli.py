"""The words of stair-submit and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stair import console
from stair.submit.cli import main
from tests.processes import wait_for
from tests.submit.scripted import WAIT_S


def call(*words: str) -> int:
    return console.run_command(lambda: main(words))


def test_help_lists_the_recipes_with_their_sentences(capsys):
    assert call("--help") == 0
    shown = capsys.readouterr().out
    assert "  demo  " in shown
    assert "--seed N" in shown
    assert "\n  small" not in shown  # only a base of others


def test_no_words_at_all_show_the_help(capsys):
    assert call() == 0
    assert "usage: stair-submit RECIPE" in capsys.readouterr().out


def test_help_of_a_recipe_lists_its_settings(capsys):
    assert call("stage1", "--help") == 0
    shown = capsys.readouterr().out
    assert "--train.data.mixture bridge_rt_1   [str]" in shown
    assert "--train.run" not in shown


@pytest.mark.parametrize(
    "words", [("--dry", "stage1"), ("stage1", "--dry"), ("stage1", "--train.steps", "3", "--dry")]
)
def test_a_dry_run_touches_nothing(words, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call(*words) == 0
    assert "stair.train" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_dry_run_as_json_is_the_plan(tmp_path: Path, capsys):
    assert call("stage1", "--dry", "--json", "--run", str(tmp_path), "--train.steps", "3") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["run"] == str(tmp_path)
    assert plan["steps"][0]["settings"]["train"]["steps"] == 3


@pytest.mark.parametrize(
    "words",
    [
        ("stge1",),
        ("stage1", "--train.stpes", "3"),
        ("stage1", "--cluster", "nowhere"),
        ("stage1", "oops"),
        ("stage1", "--json"),
        ("nowhere.yaml",),
    ],
)
def test_wrong_use_is_two_lines_and_exit_code_2(words, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call(*words) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 2
    assert not shown.out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("detach", [False, True])
def test_a_submission_ends_with_the_run_folder_and_zero(detach: bool, tmp_path: Path, capsys):
    recipe = tmp_path / "few.yaml"
    recipe.write_text("kind: collect\nabout: few\ncollect: {root: '{run}/data', episodes: 2, workers: 0}\n")
    run = tmp_path / "run"
    assert call(str(recipe), "--run", str(run), *(["--detach"] if detach else [])) == 0
    if detach:
        assert "works in" in capsys.readouterr().err
        wait_for((run / "outcome.json").exists, WAIT_S)
    else:
        assert f"done: {run}" in capsys.readouterr().out
    assert (run / "done.json").exists()


def test_a_failing_step_is_two_lines_and_exit_code_1(tmp_path: Path, capsys):
    recipe = tmp_path / "blocked.yaml"
    (tmp_path / "file").write_text("")
    recipe.write_text(
        f"kind: collect\nabout: x\ncollect: {{root: {tmp_path}/file/data, episodes: 2, workers: 0}}\n"
    )
    assert call(str(recipe), "--run", str(tmp_path / "run")) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2].startswith("error: step collect failed, exit 1: ")
    assert lines[-1].startswith("  try: ")
