"""What a run tells."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from stair.errors import UsageError
from stair.rundir import RunDir
from stair.train import tracking
from stair.train.flops import Work
from stair.train.tracking import Stopwatch, drop_lines_after, memory_mb, open_wandb
from tests.models.small import CONFIG, INPUTS
from tests.train.small import metrics, settings_of, train_here


def test_every_line_has_what_one_wants_to_plot(finished: Path) -> None:
    for line in metrics(finished):
        assert {
            "step",
            "loss",
            "loss_action",
            "loss_chunk",
            "loss_waypoints",
            "grad_norm",
            "lr",
        } <= line.keys()
        assert line["samples_per_s"] > 0
        assert line["tokens_per_s"] > 16 * line["samples_per_s"]  # patches, and words
        assert "mfu" not in line  # no peak is known of a CPU
        assert 0 <= line["data_wait_share"] <= 1
        assert 50 < line["memory_mb"] < 10_000


def test_lines_are_written_every_few_steps_and_for_the_first_and_last(tmp_path: Path, data: Path) -> None:
    assert train_here(settings_of(tmp_path / "run", data, steps=7, tracking__log_every=3)) == 0
    assert [line["step"] for line in metrics(tmp_path / "run")] == [1, 3, 6, 7]


def test_lines_after_the_checkpoint_and_lines_cut_off_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": s}) + "\n" for s in (1, 2, 3)) + '{"st\n{"step": 2')
    drop_lines_after(path, 2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_the_stopwatch_starts_anew_at_every_reading() -> None:
    watch = Stopwatch()
    watch.samples, watch.waited_s = 10, 1e-9
    assert watch.read()["samples_per_s"] > 0
    assert watch.read()["samples_per_s"] == 0


def test_where_the_peak_is_known_the_stopwatch_tells_the_share_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = types.SimpleNamespace(perf_counter=iter([100.0, 102.0]).__next__)
    monkeypatch.setattr(tracking, "time", clock)
    work = Work(CONFIG, INPUTS, "dynamic", frozenset({"action_model"}), peak=1e9)
    watch = Stopwatch(work)
    watch.samples, watch.tokens = 10, 10 * 22.0
    values = watch.read()
    assert values["tokens_per_s"] == 110
    assert values["mfu"] == pytest.approx(work.utilisation(10, 220.0, 2.0), abs=1e-4)


def test_memory_is_in_megabytes() -> None:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    now, peak = (int(status[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))
    assert 0.8 * now < memory_mb(torch.device("cpu")) <= 1.05 * peak


def test_wandb_that_is_not_installed_is_a_wrong_wish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    config = settings_of(tmp_path, tmp_path, tracking__wandb="offline")
    with pytest.raises(UsageError, match="not installed"):
        open_wandb(RunDir(tmp_path), config)


def test_wandb_that_cannot_be_reached_records_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[dict[str, Any]] = []

    def init(**about: Any) -> str:
        asked.append(about)
        if about["mode"] == "online":
            raise OSError("no route to host")
        return "a run"

    stand_in = types.ModuleType("wandb")
    stand_in.init, stand_in.Settings = init, dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    config = settings_of(tmp_path, tmp_path, tracking__wandb="online")
    assert open_wandb(RunDir(tmp_path), config) == "a run"
    assert [about["mode"] for about in asked] == ["online", "offline"]
    assert "no route to host" in capsys.readouterr().err
