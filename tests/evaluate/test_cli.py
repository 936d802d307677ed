"""stair-report: a table, files, exit codes, and a light start."""

import json
import subprocess
import sys

import pytest

from stair.evaluate.cli import main
from stair.evaluate.episodes import append_record
from stair.rundir import RunDir
from tests.evaluate.test_episodes import record


@pytest.fixture
def run(tmp_path):
    for number in range(4):
        append_record(RunDir(tmp_path / "run").episodes, record(number, success=number == 0))
    return tmp_path / "run"


def report(*words):
    return subprocess.run(
        [sys.executable, "-m", "stair.evaluate.cli", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_table_and_the_pages_path_are_shown(run, capsys):
    assert main([str(run)]) == 0
    shown = capsys.readouterr().out
    assert "25.0 %" in shown
    assert "4.6 – 69.9 %" in shown
    assert f"report: {run / 'report.html'}" in shown
    assert (run / "report.md").exists()


def test_json_goes_alone_to_stdout(run):
    done = report(run, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["evaluations"][0]["tasks"][0]["successes"] == 1


def test_errors_in_episodes_make_exit_code_1(run, capsys):
    append_record(RunDir(run).episodes, record(9, error="lost"))
    assert main([str(run)]) == 1
    assert "lost" not in capsys.readouterr().err


def test_nothing_to_report_is_exit_code_3_in_two_lines(tmp_path):
    done = report(tmp_path / "nowhere")
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        f"error: no run folder {tmp_path / 'nowhere'}",
        "  try: check the path",
    ]


def test_wrong_words_are_exit_code_2():
    assert report("--no-such-flag").returncode == 2


def test_a_report_in_json_loads_neither_torch_nor_numpy_nor_rich(run):
    code = (
        "import sys; from stair.evaluate.cli import main; main(sys.argv[1:]);"
        "heavy = {'torch', 'numpy', 'rich', 'yaml', 'draccus', 'websockets', 'PIL'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run), "--json"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_the_evaluation_side_loads_nothing_of_data_models_and_train():
    code = (
        "import sys; import stair.evaluate.workers, stair.evaluate.rollout, stair.evaluate.film,"
        " stair.evaluate.evaluation, stair.policy.remote, stair.sim.tabletop;"
        "bad = [m for m in sys.modules if m == 'torch' or m.startswith(('stair.data', 'stair.models',"
        " 'stair.train', 'stair.serve'))]; sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
