"""What a step depends on, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stair.errors import StairError, UsageError
from stair.rundir import RunDir
from stair.train.passes import pass_slices, rows_of
from stair.train.trainer import seed_of
from stair.train.world import World
from tests.models.small import make_batch
from tests.train.small import column, settings_of, train_here


def test_all_passes_of_all_processes_cover_the_global_batch_once(tmp_path: Path) -> None:
    config = settings_of(tmp_path, tmp_path, data__batch_size=12, engine__accumulate=3)
    rows: list[int] = []
    for rank in range(2):
        for local, whole in pass_slices(config, World(torch.device("cpu"), rank=rank, size=2)):
            assert local.stop - local.start == whole.stop - whole.start == 2
            rows += range(whole.start, whole.stop)
    assert rows == list(range(12))


def test_a_batch_that_does_not_divide_is_refused_with_one_that_does(tmp_path: Path) -> None:
    config = settings_of(tmp_path, tmp_path, data__batch_size=10, engine__accumulate=2)
    with pytest.raises(UsageError, match="10 is not divisible by 4 processes x 2 passes") as caught:
        pass_slices(config, World(torch.device("cpu"), size=4))
    assert "8" in caught.value.hint


def test_a_count_of_nothing_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"tracking\.log_every is 0"):
        train_here(settings_of(tmp_path / "run", tmp_path, tracking__log_every=0))
    assert not (tmp_path / "run").exists()


def test_rows_of_a_batch_keep_every_field(tmp_path: Path) -> None:
    batch = make_batch(4)
    part = rows_of(batch, slice(1, 3))
    assert len(part) == 2
    assert torch.equal(part.token_ids, batch.token_ids[1:3])
    assert part.clips is not None
    assert part.positions.tolist() == [1, 2]


def test_seeds_differ_by_run_purpose_and_step() -> None:
    seeds = {seed_of(seed, purpose, step) for seed in range(4) for purpose in range(3) for step in range(50)}
    assert len(seeds) == 600


def test_a_loss_that_is_not_finite_stops_the_run_and_spoils_no_checkpoint(tmp_path: Path, data: Path) -> None:
    config = settings_of(tmp_path / "run", data, steps=50, optimizer__learning_rate=1e30)
    with pytest.raises(StairError, match="not finite") as caught:
        train_here(config)
    assert "learning-rate" in caught.value.hint
    assert RunDir(tmp_path / "run").saved_checkpoints() == []
    assert '"status": "failed"' in (tmp_path / "run/manifest.json").read_text()


def test_the_loss_falls(tmp_path: Path, data: Path) -> None:
    config = settings_of(tmp_path / "run", data, steps=60, data__batch_size=16, optimizer__learning_rate=3e-3)
    assert train_here(config) == 0
    losses = column(tmp_path / "run", "loss")
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
