"""The command, as people and launchers see it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stair.train.__main__ import main, read_config
from tests.train.small import end, output_of, settings_of, start, start_nodes


def test_a_typo_gets_the_nearest_setting_and_code_two_without_importing_torch() -> None:
    code = (
        "import sys\nfrom stair.train.__main__ import main\n"
        "code = main(['--optimizer.learning_rat', '1e-3'])\n"
        "assert 'torch' not in sys.modules\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines() == [
        "error: unknown setting 'optimizer.learning_rat'",
        "  try: did you mean 'learning_rate'?",
    ]


def test_flags_are_laid_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("steps: 7\noptimizer: {learning_rate: 1.0e-3, clip_norm: 0.5}\n")
    config = read_config(["--config", str(tmp_path / "a.yaml"), "--optimizer.clip-norm", "2"])
    assert (config.steps, config.optimizer.learning_rate, config.optimizer.clip_norm) == (7, 1e-3, 2.0)


def test_a_rate_of_one_part_is_a_flag(tmp_path: Path) -> None:
    config = read_config(["--optimizer.rates.action_model", "1e-4", "--optimizer.rates.oformer=2e-4"])
    assert config.optimizer.rates == {"action_model": 1e-4, "oformer": 2e-4}


def test_a_missing_data_folder_is_two_lines_and_code_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--data.root",
        str(tmp_path / "nowhere"),
        "--run",
        str(tmp_path / "run"),
        "--engine.device",
        "cpu",
    ]
    assert main(words) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 2
    assert error[0].startswith("error: ")
    assert "nowhere" in error[0]
    assert error[1].startswith("  try: ")


def test_an_unwritable_run_folder_is_two_lines_and_code_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--run", str(tmp_path / "file/run"), "--engine.device", "cpu"]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 2


def test_a_reader_that_dies_while_a_step_is_computed_is_no_bug(tmp_path: Path, data: Path) -> None:
    """torch tells of it by a signal, and raises wherever Python stands."""
    code = """
import multiprocessing, os, signal, sys, time
from stair.train.__main__ import main
import stair.train.trainer
def clip(*words):
    (reader,) = multiprocessing.active_children()
    os.kill(reader.pid, signal.SIGKILL)
    while True:
        time.sleep(0.01)
stair.train.trainer.clip_gradients = clip
sys.exit(main(sys.argv[1:]))
"""
    process = start(settings_of(tmp_path / "run", data, data__workers=1), code=code)
    output = output_of(process)
    assert process.returncode == 1, output
    assert "error: a reader process died: DataLoader worker" in output
    assert "Traceback" not in output


def test_an_error_that_all_processes_meet_is_told_by_one(tmp_path: Path) -> None:
    processes = start_nodes(settings_of(tmp_path / "run", tmp_path / "nowhere"))
    try:
        outputs = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        end(processes)
    assert [process.returncode for process in processes] == [1, 1]
    assert sum(output.count("error: ") for output in outputs) == 1, outputs
    assert "Traceback" not in "".join(outputs)
