"""A trace of a few steps."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from stair.train.__main__ import read_config
from stair.train.profiling import TRACE
from tests.train.small import settings_of, train_here


def test_a_profiled_run_leaves_a_trace_of_its_steps(tmp_path: Path, data: Path) -> None:
    assert train_here(settings_of(tmp_path / "run", data, steps=4, tracking__profile=2)) == 0
    assert [path.name for path in (tmp_path / "run/logs").iterdir()] == [TRACE]
    with gzip.open(tmp_path / "run/logs" / TRACE) as file:
        events = json.load(file)["traceEvents"]
    steps = {event["name"] for event in events if event.get("name", "").startswith("ProfilerStep")}
    assert len(steps) == 2
    assert any(event.get("name") == "aten::mm" for event in events)


def test_a_run_that_is_too_short_says_so(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_here(settings_of(tmp_path / "run", data, steps=1, tracking__profile=2)) == 0
    assert "no trace was made" in capsys.readouterr().err


def test_the_flag_has_a_short_name() -> None:
    assert read_config(["--profile", "3"]).tracking.profile == 3
