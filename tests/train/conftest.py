from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.small import make_data, settings_of, train_here


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root folder of a small tabletop data set."""
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """The folder of an uninterrupted stage-1 run of 12 steps in one process, saved every 4."""
    run = tmp_path_factory.mktemp("runs") / "uninterrupted"
    assert train_here(settings_of(run, data, steps=12, checkpoint__every=4)) == 0
    return run
