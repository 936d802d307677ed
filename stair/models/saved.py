"""A model folder: `config.yaml`, `model.safetensors` (or shards and their index), `statistics.json`.

Everything that serving needs to act as training did, and nothing else. Tensors are keyed `part.name`; the
frozen dynamic encoder is never among them. Folders are written under another name and renamed when whole.
Checkpoints of other origin are opened by formats/checkpoint.py.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stair import settings
from stair.data.config import InputConfig
from stair.errors import StairError
from stair.models.build import build_model
from stair.models.config import ModelConfig
from stair.models.formats.fit import fill
from stair.models.formats.safetensors_files import (
    SHARD_BYTES,
    WEIGHTS,
    has_weights,
    open_safetensors,
    write_safetensors,
)
from stair.models.formats.stored import Stored
from stair.rundir import RunDir, make_folder, write_json, write_whole

CONFIG, STATISTICS = "config.yaml", "statistics.json"


@dataclass(frozen=True)
class SavedConfig:
    """What a model is: enough to build it and to feed it."""

    stage: str = "stage1"
    model: ModelConfig = field(default_factory=ModelConfig)
    inputs: InputConfig = field(default_factory=InputConfig)
    step: int = 0


@dataclass(frozen=True)
class SavedModel:
    """A model folder that exists and is complete."""

    folder: Path
    config: SavedConfig
    statistics: dict[str, Any]
    """Per data set, in OpenVLA's `dataset_statistics.json` form."""


def part_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Every tensor of the model's parts by its saved key."""
    parts: dict[str, nn.Module] = model.parts()  # type: ignore[operator]
    return {
        f"{part}.{key}": value for part, module in parts.items() for key, value in module.state_dict().items()
    }


def save_model(
    folder: Path,
    config: SavedConfig,
    tensors: Mapping[str, Tensor | Stored],
    statistics: Mapping[str, Any],
    *,
    shard_bytes: int = SHARD_BYTES,
    told: Callable[[int], None] = lambda written: None,
) -> None:
    """Writes a model folder whole, in shards when it is larger than one may be; `told` hears bytes written.

    Raises StairError on a full disk; an older folder is then untouched.
    """
    import yaml

    stored = {k: v if isinstance(v, Stored) else Stored.of(v) for k, v in tensors.items()}
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    make_folder(temporary)
    try:
        write_safetensors(temporary, stored, shard_bytes=shard_bytes, told=told)
        write_whole(temporary / CONFIG, yaml.safe_dump(settings.dump(config), sort_keys=False))
        write_json(temporary / STATISTICS, dict(statistics))
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except Exception as error:  # safetensors raises its own type for a full disk
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, StairError):
            raise
        raise StairError(f"cannot write model folder {folder}: {error}", hint="is the disk full?") from None


def is_model_folder(path: Path) -> bool:
    """True for a folder that `save_model` wrote."""
    return (path / CONFIG).exists() and has_weights(path)


def find_model(path: Path) -> Path:
    """The model folder meant by `path`: itself, or the newest checkpoint's of a run folder."""
    if is_model_folder(path):
        return path
    newest = RunDir(path).latest_checkpoint()
    if newest is not None:
        return newest.model
    if not path.exists():
        raise StairError(f"no model at {path}: it does not exist", hint="give a model folder or a run folder")
    if path.is_file() or any(path.glob("checkpoints/*.pt")) or has_weights(path):
        raise StairError(
            f"{path} is no STAIR model folder",
            hint=f"tools/convert-checkpoint {path} NEW --to stair, then NEW",
        )
    raise StairError(
        f"no model at {path}: neither {WEIGHTS} nor a complete checkpoint in it",
        hint="has the training run saved a checkpoint yet?",
    )


def open_model(path: Path) -> SavedModel:
    """Reads what a model folder (or a run's newest checkpoint) says of itself, without its weights."""
    folder = find_model(path)
    config = settings.build(SavedConfig, settings.read_yaml(folder / CONFIG), where=str(folder / CONFIG))
    try:
        statistics = json.loads((folder / STATISTICS).read_text())
    except (OSError, ValueError) as error:
        raise StairError(f"{folder / STATISTICS}: {error}", hint="the model folder is incomplete") from None
    return SavedModel(folder, config, statistics)


def load_parts(model: nn.Module, path: Path, names: list[str]) -> None:
    """Fills the named parts of `model` from a model folder.

    Raises StairError naming the parts, keys or shapes that do not fit; the model is then unchanged.
    """
    folder = find_model(path)
    parts: dict[str, nn.Module] = model.parts()  # type: ignore[operator]
    fill(parts, names, open_safetensors(folder), where=str(folder))


def load_model(
    path: Path, *, device: str = "cpu", for_deployment: bool = True
) -> tuple[nn.Module, SavedModel]:
    """Builds the model of a folder (or of a run's newest checkpoint) and fills it; in eval mode."""
    saved = open_model(path)
    model = build_model(saved.config.model, saved.config.inputs, for_deployment=for_deployment)
    load_parts(model, saved.folder, list(model.parts()))  # type: ignore[operator]
    return model.to(torch.device(device)).eval(), saved
