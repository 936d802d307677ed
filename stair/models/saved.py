"""A model folder: `config.yaml`, `model.safetensors`, `statistics.json`, and nothing else.

Everything that serving needs to act as training did. Tensors are keyed `part.name`; the frozen dynamic
encoder is never among them. Folders are written under another name and renamed when whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
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
from stair.rundir import RunDir, make_folder, write_json, write_whole

CONFIG, WEIGHTS, STATISTICS = "config.yaml", "model.safetensors", "statistics.json"


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
    folder: Path, config: SavedConfig, tensors: Mapping[str, Tensor], statistics: Mapping[str, Any]
) -> None:
    """Writes a model folder whole. Raises StairError on a full disk; an older folder is then untouched."""
    import yaml
    from safetensors.torch import save_file

    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    make_folder(temporary)
    try:
        save_file(
            {key: value.detach().cpu().contiguous() for key, value in tensors.items()}, temporary / WEIGHTS
        )
        write_whole(temporary / CONFIG, yaml.safe_dump(settings.dump(config), sort_keys=False))
        write_json(temporary / STATISTICS, dict(statistics))
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except Exception as error:  # safetensors raises its own type for a full disk
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, StairError):
            raise
        raise StairError(f"cannot write model folder {folder}: {error}", hint="is the disk full?") from None


def find_model(path: Path) -> Path:
    """The model folder meant by `path`: itself, or the newest checkpoint's of a run folder."""
    if (path / CONFIG).exists() and (path / WEIGHTS).exists():
        return path
    newest = RunDir(path).latest_checkpoint()
    if newest is not None:
        return newest.model
    if not path.exists():
        raise StairError(f"no model at {path}: it does not exist", hint="give a model folder or a run folder")
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
    from safetensors import SafetensorError, safe_open

    file = find_model(path) / WEIGHTS
    parts: dict[str, nn.Module] = model.parts()  # type: ignore[operator]
    wanted = {f"{name}.{key}": value for name in names for key, value in parts[name].state_dict().items()}
    try:
        with safe_open(file, framework="pt") as tensors:
            present = set(tensors.keys())
            missing = sorted(set(wanted) - present)
            if missing:
                lost = sorted({key.split(".")[0] for key in missing})
                raise StairError(
                    f"{file} lacks {len(missing)} tensors of {', '.join(lost)}, first {missing[0]}",
                    hint="was it saved by another stage or with another model configuration?",
                )
            for key, value in wanted.items():
                found = tuple(tensors.get_slice(key).get_shape())
                if found != tuple(value.shape):
                    raise StairError(
                        f"{file}: {key} has shape {list(found)}, the configuration says {list(value.shape)}",
                        hint="load it with the model configuration it was trained with",
                    )
            for name in names:
                prefix = f"{name}."
                state = {
                    key[len(prefix) :]: tensors.get_tensor(key) for key in wanted if key.startswith(prefix)
                }
                parts[name].load_state_dict(state)
    except (OSError, SafetensorError) as error:
        raise StairError(f"cannot read {file}: {error}", hint="the file is damaged or incomplete") from None


def load_model(
    path: Path, *, device: str = "cpu", for_deployment: bool = True
) -> tuple[nn.Module, SavedModel]:
    """Builds the model of a folder (or of a run's newest checkpoint) and fills it; in eval mode."""
    saved = open_model(path)
    model = build_model(saved.config.model, saved.config.inputs, for_deployment=for_deployment)
    load_parts(model, saved.folder, list(model.parts()))  # type: ignore[operator]
    return model.to(torch.device(device)).eval(), saved
