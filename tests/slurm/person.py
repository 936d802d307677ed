"""Somebody with a working folder who calls the real commands; and a policy too small to be any good."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.slurm.live import LiveSlurm


@dataclass(frozen=True)
class Person:
    """One who submits from `folder`, whose profile is called `mine`."""

    folder: Path
    shell: Mapping[str, str]

    def calls(self, command: str, *words: str, timeout_s: float = 600.0) -> subprocess.CompletedProcess[str]:
        program = Path(sys.executable).with_name(command)
        return subprocess.run(
            [program, *words],
            cwd=self.folder,
            env=dict(self.shell),
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def submits(self, *words: str) -> str:
        """What stair-submit said, once it has succeeded."""
        done = self.calls("stair-submit", words[0], "--cluster", "mine", *words[1:])
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def waits_for(self, run: str, timeout_s: float = 600.0) -> dict[str, Any]:
        """The report of a run as JSON, once all of it has ended well."""
        watched = self.calls("stair-report", run, "--watch", timeout_s=timeout_s)
        logs = "".join(
            path.read_text(errors="replace") for path in (self.folder / run / "logs").rglob("*.log")
        )
        assert watched.returncode == 0, watched.stdout + watched.stderr + logs
        return json.loads(self.calls("stair-report", run, "--json").stdout)


def make_person(slurm: LiveSlurm, folder: Path, **profile: Any) -> Person:
    """A person on a running cluster; `profile` is laid over a profile without images."""
    tree = {
        "executor": "slurm",
        "gpus_per_node": 0,
        "slurm": {"partition": "train", "mem_gb": 1.9, "warn_s": 90},
        **profile,
    }
    (folder / "slurm").mkdir(parents=True)
    (folder / "slurm" / "mine.yaml").write_text(yaml.safe_dump(tree))
    return Person(folder, {**slurm.environment, "HOME": str(folder)})


def make_model(folder: Path, *data_sets: str) -> Path:
    """An untrained stage-2 model of the smallest size that knows the statistics of `data_sets`."""
    from stair.models.build import build_model
    from stair.models.saved import SavedConfig, part_tensors, save_model
    from tests.models.small import CONFIG, INPUTS

    bounds = {
        "mean": [0.0] * 7,
        "std": [1.0] * 7,
        "max": [0.05] * 6 + [1.0],
        "min": [-0.05] * 6 + [0.0],
        "q01": [-0.05] * 6 + [0.0],
        "q99": [0.05] * 6 + [1.0],
        "mask": [True] * 6 + [False],
    }
    statistics = {"action": bounds, "proprio": bounds, "num_transitions": 10, "num_trajectories": 1}
    model = build_model(CONFIG, INPUTS)
    config = SavedConfig("stage2", CONFIG, INPUTS, 7)
    save_model(folder, config, part_tensors(model), dict.fromkeys(data_sets, statistics))
    return folder
