"""What a run was made of."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from stair.data.statistics import read_statistics
from stair.rundir import RunDir, write_json
from stair.settings import build, read_yaml
from stair.train.config import TrainConfig
from stair.train.manifest import begin_attempt, end_attempt, fingerprint
from tests.train.small import settings_of


def test_attempts_are_counted_and_what_others_wrote_stays(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_json(run.manifest, {"recipe": "stage1"})
    assert begin_attempt(run, {"seed": 3}, step=0, processes=1) == 1
    end_attempt(run, "stopped", 5)
    assert begin_attempt(run, {"seed": 3}, step=5, processes=2) == 2
    tree = json.loads(run.manifest.read_text())
    assert tree["recipe"] == "stage1"
    assert tree["train"]["status"] == "running"
    assert [attempt["from_step"] for attempt in tree["train"]["attempts"]] == [0, 5]
    assert tree["train"]["attempts"][0]["status"] == "stopped"


def test_a_run_says_what_it_was_made_of(data: Path, finished: Path) -> None:
    entry = json.loads((finished / "manifest.json").read_text())["train"]
    assert entry["status"] == "finished"
    assert entry["samples"] > 100
    assert entry["parameters"]["oformer"]["trained"] == 0
    assert entry["attempts"][0]["torch"] == torch.__version__
    statistics = json.loads((finished / "checkpoints/step-0000012/model/statistics.json").read_text())
    assert entry["statistics_sha256"] == fingerprint(statistics)
    in_openvlas_form = read_statistics(finished / "dataset_statistics.json")
    assert {name: value.to_json() for name, value in in_openvlas_form.items()} == statistics


def test_the_settings_beside_a_run_start_it_again(data: Path, finished: Path) -> None:
    config = build(TrainConfig, read_yaml(finished / "config.yaml"))
    assert config == settings_of(finished, data, steps=12, checkpoint__every=4)
