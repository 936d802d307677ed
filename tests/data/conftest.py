"""Data sets for this room's tests: a small written one, and the real Bridge episodes where they lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.data.episodes import write_tabletop


@pytest.fixture
def tabletop(tmp_path) -> Path:
    """A root with a tabletop data set of 8 episodes in 2 shards."""
    write_tabletop(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def bridge(tmp_path_factory) -> Path:
    """A root with the real Bridge episodes; skips where they are not present."""
    beside = Path(__file__).parents[2].parent / "shared" / "data"
    root = Path(os.environ.get("STAIR_TEST_DATA", beside))
    if not (root / "bridge_orig" / "1.0.0").is_dir():
        pytest.skip(f"no Bridge episodes at {root} (STAIR_TEST_DATA)")
    return root


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch) -> None:
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
