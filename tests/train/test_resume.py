"""Checkpoints that survive what clusters do to runs."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from stair import settings
from stair.errors import StairError, UsageError
from stair.models.saved import load_model
from stair.rundir import RunDir
from stair.train.resume import changed_settings, find_resume
from tests.train.small import column, metrics, settings_of, start, train_here, wait_until


def test_a_run_killed_in_mid_training_goes_on_bit_for_bit(tmp_path: Path, data: Path) -> None:
    flags = {"checkpoint__every": 4, "data__workers": 1}
    run = RunDir(tmp_path / "run")
    process = start(settings_of(run.path, data, steps=100_000, **flags))
    try:
        wait_until(lambda: run.saved_checkpoints() or process.poll() is not None)
    finally:
        process.kill()
    output, _ = process.communicate()
    assert run.saved_checkpoints(), output
    assert process.returncode == -signal.SIGKILL
    reached = run.saved_checkpoints()[-1].step
    half = run.checkpoint(reached + 1)  # as if killed while saving
    half.training.mkdir(parents=True)

    steps = reached + 8
    assert train_here(settings_of(run.path, data, steps=steps, **flags)) == 0
    assert not half.path.exists()
    assert train_here(settings_of(tmp_path / "whole", data, steps=steps)) == 0
    assert column(run.path, "step") == list(range(1, steps + 1))
    for name in ("loss", "loss_action", "grad_norm", "lr"):
        assert column(run.path, name) == column(tmp_path / "whole", name)
    assert column(run.path, "attempt") == [1] * reached + [2] * 8


def test_a_finished_run_started_again_does_nothing(tmp_path: Path, data: Path) -> None:
    config = settings_of(tmp_path / "run", data, steps=2)
    assert train_here(config) == 0
    before = metrics(tmp_path / "run")
    assert train_here(config) == 0
    assert metrics(tmp_path / "run") == before


def test_a_finished_run_goes_on_when_given_more_steps(tmp_path: Path, data: Path, finished: Path) -> None:
    assert train_here(settings_of(tmp_path / "run", data, steps=5)) == 0
    assert train_here(settings_of(tmp_path / "run", data, steps=8)) == 0
    assert column(tmp_path / "run", "loss") == column(finished, "loss")[:8]


def test_frozen_parts_come_back_from_the_checkpoint_alone(tmp_path: Path, data: Path, finished: Path) -> None:
    shutil.copytree(finished, tmp_path / "one")
    flags = {"stage": "stage2", "init_from": str(tmp_path / "one"), "freeze__vision_backbone": True}
    assert train_here(settings_of(tmp_path / "whole", data, steps=4, **flags)) == 0
    assert train_here(settings_of(tmp_path / "run", data, steps=2, **flags)) == 0
    shutil.rmtree(tmp_path / "one")
    assert train_here(settings_of(tmp_path / "run", data, steps=4, **flags)) == 0
    assert column(tmp_path / "run", "loss") == column(tmp_path / "whole", "loss")


def test_the_saved_model_loads_for_serving_and_knows_its_step(finished: Path) -> None:
    model, saved = load_model(finished)
    assert (saved.config.stage, saved.config.step) == ("stage1", 12)
    assert "tabletop" in saved.statistics
    assert not model.training


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path, data: Path) -> None:
    config = settings_of(tmp_path / "run", data, steps=5, checkpoint__every=1, checkpoint__keep=2)
    assert train_here(config) == 0
    names = sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir())
    assert names == ["step-0000004", "step-0000005"]


def test_other_settings_for_the_same_folder_are_refused_by_name(data: Path, finished: Path) -> None:
    config = settings_of(finished, data, steps=12, optimizer__learning_rate=5e-4, model__head__depth=3)
    with pytest.raises(UsageError, match=r"model\.head\.depth \(2 → 3\), optimizer\.learning_rate"):
        train_here(config)


def test_other_data_for_the_same_folder_is_refused(tmp_path: Path, finished: Path) -> None:
    from stair.collect.config import CollectConfig
    from stair.collect.dataset import collect

    collect(CollectConfig(root=str(tmp_path), episodes=2, image_size=32, workers=0, seed=9))
    with pytest.raises(UsageError, match="other data"):
        train_here(settings_of(finished, tmp_path, steps=12))


def test_where_the_data_lies_may_change_and_steps_only_without_cosine(tmp_path: Path) -> None:
    config = settings_of(tmp_path, tmp_path, steps=6)
    before = settings.dump(config)
    assert (
        changed_settings(before, settings_of(tmp_path / "b", tmp_path / "c", steps=9, data__workers=3)) == []
    )
    cosine = {"optimizer__schedule": "cosine"}
    before = settings.dump(settings_of(tmp_path, tmp_path, steps=6, **cosine))
    assert changed_settings(before, settings_of(tmp_path, tmp_path, steps=9, **cosine)) == ["steps"]


def test_a_key_that_appears_in_a_mapping_of_the_users_is_another_setting(tmp_path: Path) -> None:
    before = settings.dump(settings_of(tmp_path, tmp_path, steps=6))
    rates = settings_of(tmp_path, tmp_path, steps=6, optimizer__rates={"action_model": 1e-4})
    assert changed_settings(before, rates) == ["optimizer.rates"]


def test_a_training_folder_that_others_may_write_is_not_opened(tmp_path: Path, finished: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    run = RunDir(tmp_path / "run")
    found = find_resume(run)
    assert found is not None
    assert found.checkpoint.step == 12
    found.checkpoint.training.chmod(0o775)
    with pytest.raises(StairError, match="others may write"):
        find_resume(run)


@pytest.mark.parametrize("file", ["__0_0.distcp", ".metadata", "state.json"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, data: Path, finished: Path, file: str) -> None:
    shutil.copytree(finished, tmp_path / "run")
    damaged = tmp_path / "run/checkpoints/step-0000012/training" / file
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(StairError, match="step-0000012") as caught:
        train_here(settings_of(tmp_path / "run", data, steps=13))
    assert "go on from the checkpoint before it" in caught.value.hint


@pytest.mark.parametrize("background", [True, False])
def test_a_full_disk_in_a_checkpoint_ends_the_run_in_two_lines_and_it_goes_on_from_there(
    small_disk: Path, data: Path, finished: Path, background: bool
) -> None:
    flags = {"steps": 8, "checkpoint__every": 2, "checkpoint__keep": 0, "checkpoint__background": background}
    config = settings_of(small_disk / "run", data, **flags)
    with pytest.raises(StairError, match=r"could not be written: (?i:no space left)") as caught:
        train_here(config)
    run = RunDir(small_disk / "run")
    steps = [checkpoint.step for checkpoint in run.saved_checkpoints()]
    assert steps
    assert f"goes on from step {steps[-1]}" in caught.value.hint
    assert [path.name for path in run.checkpoints.iterdir()] == [f"step-{step:07d}" for step in steps]

    subprocess.run(["mount", "-o", "remount,size=30m", str(small_disk)], check=True)
    assert train_here(config) == 0
    assert column(run.path, "loss") == column(finished, "loss")[:8]
