"""The page that a chain's last step writes."""

import subprocess
import sys

import pytest

from stair.evaluate.episodes import append_record
from stair.rundir import RunDir
from tests.evaluate.test_episodes import record


@pytest.fixture
def run(tmp_path):
    for number in range(4):
        append_record(RunDir(tmp_path / "run").episodes, record(number, success=number == 0))
    return tmp_path / "run"


def page(*words):
    return subprocess.run(
        [sys.executable, "-m", "stair.evaluate.report", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_table_and_the_pages_path_are_shown(run):
    done = page(run)
    assert done.returncode == 0, done.stderr
    assert "25.0 %" in done.stdout
    assert f"report: {run / 'report.html'}" in done.stdout
    assert (run / "report.json").exists()


def test_errors_in_episodes_make_exit_code_1(run):
    append_record(RunDir(run).episodes, record(9, error="lost"))
    assert page(run).returncode == 1


def test_nothing_to_report_is_exit_code_3_in_two_lines(tmp_path):
    done = page(tmp_path / "nowhere")
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        f"error: no run folder {tmp_path / 'nowhere'}",
        "  try: check the path",
    ]


def test_wrong_words_are_exit_code_2():
    assert page().returncode == 2


def test_the_evaluation_side_loads_nothing_of_data_models_and_train():
    code = (
        "import sys; import stair.evaluate.workers, stair.evaluate.rollout, stair.evaluate.film,"
        " stair.evaluate.evaluation, stair.evaluate.report.__main__, stair.policy.remote, stair.sim.tabletop,"
        " stair.sim.maniskill3, stair.sim.simpler, stair.evaluate.pitfalls.examine;"
        "bad = [m for m in sys.modules if m in ('torch', 'sapien') or m.startswith(('stair.data',"
        " 'stair.models', 'stair.train', 'stair.serve'))]; sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
