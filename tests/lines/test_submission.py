"""The submission line from end to end: what is shown is what is sent, and the smallest chain really runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import wait_for
from tests.submit.scripted import processes_of

SUBMIT = [sys.executable, "-c", "import sys; from stair.submit.cli import entry; sys.exit(entry())"]


def submit(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SUBMIT, *map(str, words)], capture_output=True, text=True, timeout=1000)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> tuple[Path, str, subprocess.CompletedProcess[str]]:
    """One run of the smoke recipe: its folder, its dry run before, and how it ended."""
    run = tmp_path_factory.mktemp("smoke") / "run"
    dry = submit("smoke", "--run", run, "--dry", "--json")
    assert dry.returncode == 0, dry.stderr
    assert not run.exists()
    return run, dry.stdout, submit("smoke", "--run", run)


def test_the_smoke_chain_ends_well_and_shows_its_progress(smoke):
    run, _, done = smoke
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"done: {run}"
    for step in ("collect", "stage1", "stage2", "eval", "report"):
        assert f"{step} │ ── done after" in done.stderr


def test_the_dry_run_is_the_plan_that_was_sent_byte_for_byte(smoke):
    run, dry, _ = smoke
    assert (run / "plan.json").read_text() == dry


def test_every_station_leaves_what_it_promises(smoke):
    run, _, _ = smoke
    assert list((run / "collect").glob("tabletop/1.0.0/*.tfrecord-*"))
    for stage in ("stage1", "stage2"):
        assert list((run / stage / "checkpoints").glob("step-*/complete"))
        assert (run / stage / "metrics.jsonl").exists()
    assert list((run / "eval" / "episodes").glob("*.jsonl"))
    assert (run / "report.html").exists()
    assert json.loads((run / "report.json").read_text())
    assert json.loads((run / "manifest.json").read_text())["submit"]["recipe"] == "smoke"


def test_no_server_is_left_behind(smoke):
    run, _, _ = smoke
    wait_for(lambda: not processes_of(run))  # who was killed just now may not have gone yet


def test_repeating_the_command_skips_every_step(smoke):
    run, _, _ = smoke
    again = submit("smoke", "--run", run)
    assert again.returncode == 0
    assert again.stderr.count("finished earlier, skipped") == 5


def test_other_settings_in_the_same_folder_are_refused_by_name(smoke):
    run, _, _ = smoke
    other = submit("smoke", "--run", run, "--stage1.train.steps", 4)
    assert other.returncode == 2
    assert "other settings: stage1.train.steps" in other.stderr
    assert other.stderr.partition("error: ")[2].count("\n") == 2
