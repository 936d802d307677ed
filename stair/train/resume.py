"""Whether a run begins or goes on, and going on from a checkpoint.

Takes a run folder and the settings, hands on where to go on, or why these settings cannot. Going on is exact:
randomness is a function of seed and step, so there is no generator's state to bring back.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import load

from stair import settings
from stair.errors import StairError, UsageError
from stair.rundir import Checkpoint, RunDir
from stair.train.config import TrainConfig
from stair.train.ema import Ema
from stair.train.saver import STATE, cause_of, hush, training_state

MATTERS = ("stage", "seed", "data", "inputs", "model", "freeze", "optimizer", "ema", "stage2")
FREE = ("data.root", "data.workers")
"""Settings that decide what is computed, less those that only say where and how fast."""
FREE_KEYS = ("inputs.clip.strides", "optimizer.rates")
"""Mappings whose keys are the user's: each is one setting."""


@dataclass(frozen=True)
class Resume:
    """Where a run goes on."""

    checkpoint: Checkpoint
    config: dict[str, Any]
    """The settings that the checkpoint was made with, as a tree."""
    statistics_hash: str
    processes: int


def find_resume(run: RunDir) -> Resume | None:
    """The newest complete checkpoint of a run folder, or None. Raises StairError when it is unreadable."""
    checkpoint = run.latest_checkpoint()
    if checkpoint is None:
        return None
    refuse_foreign(checkpoint.training)
    try:
        state = json.loads((checkpoint.training / STATE).read_text())
        return Resume(checkpoint, state["config"], state["statistics_hash"], state["processes"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StairError(
            f"{checkpoint.training / STATE} cannot be read: {error}",
            hint=f"remove {checkpoint.path} to go on from the checkpoint before it",
        ) from None


def refuse_foreign(folder: Path) -> None:
    """Refuses a training folder that others own or may write: DCP's index is a pickle, which can run code."""
    try:
        found = folder.stat()
    except OSError as error:
        raise StairError(f"cannot read {folder}: {error.strerror}", hint="start the run anew") from None
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StairError(
            f"{folder} belongs to another user or others may write to it; it is not opened",
            hint=f"if you trust it: chown it to yourself and chmod go-w {folder}",
        )


def changed_settings(before: Mapping[str, Any], config: TrainConfig) -> list[str]:
    """The dotted names of settings that matter and differ from a checkpoint's; pure.

    `steps` may change, except under a cosine schedule, whose every learning rate depends on it. Settings
    that one side does not know are passed over: they came or went with a version of this code.
    """
    old, new = _flat(before), _flat(settings.dump(config))
    matters = [key for key in old if key in new and key.split(".")[0] in MATTERS and key not in FREE]
    if config.optimizer.schedule == "cosine":
        matters.append("steps")
    return [key for key in matters if old.get(key) != new[key]]


def refuse_another_run(resume: Resume, config: TrainConfig, statistics_hash: str) -> None:
    """Raises UsageError when the run folder's checkpoint was made with other settings or other data."""
    changed = changed_settings(resume.config, config)
    if changed:
        old, new = _flat(resume.config), _flat(settings.dump(config))
        shown = ", ".join(f"{key} ({old.get(key)} → {new[key]})" for key in changed[:4])
        more = f" and {len(changed) - 4} more" if len(changed) > 4 else ""
        raise UsageError(
            f"{config.run} holds a run with other settings: {shown}{more}",
            hint="give the run another folder with --run, or the settings it was started with",
        )
    if resume.statistics_hash != statistics_hash:
        raise UsageError(
            f"{config.run} was started on other data: the statistics under {config.data.root} differ",
            hint="point data.root at the same data, or give the run another folder with --run",
        )


def sweep(run: RunDir) -> list[str]:
    """Removes checkpoint folders without a marker, left by a killed attempt; returns their names."""
    stale = [path for path in sorted(run.checkpoints.glob("step-*")) if not (path / "complete").exists()]
    for path in stale:
        shutil.rmtree(path, ignore_errors=True)
    return [path.name for path in stale]


def restore(
    resume: Resume, model: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema | None = None
) -> None:
    """Fills model, optimizer and averages, sharded over any number of processes, from a checkpoint;
    collective."""
    folder = resume.checkpoint.training
    try:
        held = FileSystemReader(folder).read_metadata().state_dict_metadata
        for name, parameter in model.named_parameters():
            if f"optimizer.{name}.step" in held:
                optimizer.state[parameter] = {
                    "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                    "exp_avg": torch.zeros_like(parameter.detach()),
                    "exp_avg_sq": torch.zeros_like(parameter.detach()),
                }
        hush()
        average = ema.average if ema is not None else {}
        load(training_state(model, optimizer, average), checkpoint_id=folder)  # in place
    except (CheckpointException, UnpicklingError, OSError, RuntimeError, LookupError, EOFError) as error:
        raise StairError(
            f"checkpoint {resume.checkpoint.path} cannot be read: {cause_of(error)}",
            hint=f"remove {resume.checkpoint.path} to go on from the checkpoint before it",
        ) from None


def _flat(tree: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        spot = f"{where}.{key}" if where else key
        if isinstance(value, Mapping) and spot not in FREE_KEYS:
            flat.update(_flat(value, spot))
        else:
            flat[spot] = list(value) if isinstance(value, tuple) else value
    return flat
