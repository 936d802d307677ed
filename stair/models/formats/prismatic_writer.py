"""A checkpoint written as an OpenVLA-prismatic run directory.

Takes tensors by our keys and facts about the run, hands on `config.json` and its twin `config.yaml`,
`dataset_statistics.json` and `checkpoints/step-XXXXXX-epoch-XX-loss=X.XXXX.pt` with `{"model": {module:
state dict}}`. The directory appears whole or not at all. OpenVLA's, CogACT's and WoG's own code read the
modules they know and pass over the rest; the frozen dynamic encoder is never among them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from stair import settings
from stair.data.statistics import Statistics
from stair.errors import StairError
from stair.models.config import ModelConfig
from stair.models.formats.base_vlm import OURS_NAME
from stair.models.formats.checkpoint import RUN_STATISTICS
from stair.models.formats.fit import HEADS
from stair.models.formats.keys import to_prismatic
from stair.models.formats.stored import Stored
from stair.models.saved import SavedConfig
from stair.rundir import make_folder, write_json, write_whole


@dataclass(frozen=True)
class Moment:
    """When in a run a checkpoint was taken, as its file name tells."""

    step: int = 0
    epoch: int = 0
    loss: float = float("inf")

    @property
    def file_name(self) -> str:
        """OpenVLA's form (training strategies' `save_checkpoint`)."""
        loss = "inf" if self.loss == float("inf") else f"{self.loss:.4f}"
        return f"step-{self.step:06d}-epoch-{self.epoch:02d}-loss={loss}.pt"


def run_config(saved: SavedConfig | None, base_vlm: str = "") -> dict[str, Any]:
    """What config.json says: upstream's fields about the model, and under `stair` all that ours needs."""
    if saved is None:
        return {"vla": {"base_vlm": base_vlm or OURS_NAME}}
    full = ModelConfig()
    same = (saved.model.vision, saved.model.llm) == (full.vision, full.llm)
    head, stage = saved.model.head, saved.stage.removeprefix("stage")
    name = f"stair-dinosiglip-224px+oxe+{saved.stage}"
    return {
        "vla": {"type": name, "vla_id": name, "base_vlm": OURS_NAME if same else ""},
        "stage": int(stage) if stage.isdigit() else saved.stage,
        "action_model_type": HEADS.get((head.depth, head.width), "DiT"),
        "action_dim": saved.inputs.action.dim,
        "Ta": saved.inputs.action.chunk,
        "stair": settings.dump(saved),
    }


def write_prismatic(
    run: Path,
    tensors: Mapping[str, Stored],
    config: Mapping[str, Any],
    statistics: Mapping[str, Statistics],
    moment: Moment,
    *,
    told: Callable[[int], None] = lambda written: None,
) -> Path:
    """Writes a run directory; returns its `.pt`. `told` hears how many bytes are written so far.

    Mapped tensors stay mapped: what is written need not fit into memory. Raises StairError when the disk is
    full or the place cannot be written; nothing is left behind then.
    """
    import yaml

    temporary = run.with_name(f".{run.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    make_folder(temporary / "checkpoints")
    try:
        write_json(temporary / "config.json", dict(config))
        write_whole(temporary / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False))
        write_json(temporary / RUN_STATISTICS, {name: value.to_json() for name, value in statistics.items()})
        with (temporary / "checkpoints" / moment.file_name).open("wb") as file:
            torch.save({"model": modules_of(tensors)}, _Counted(file, told))  # type: ignore[arg-type]
        temporary.rename(run)
    except (OSError, RuntimeError, StairError) as error:  # torch tells of a full disk by RuntimeError
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, StairError):
            raise
        line = str(error).splitlines()[0]
        raise StairError(f"cannot write {run}: {line}", hint="is the disk full or read-only?") from None
    return run / "checkpoints" / moment.file_name


def modules_of(tensors: Mapping[str, Stored]) -> dict[str, dict[str, Tensor]]:
    """`{module: {key: tensor}}` of our keys."""
    modules: dict[str, dict[str, Tensor]] = {}
    for key, stored in tensors.items():
        module, name = to_prismatic(key)
        tensor = stored.read().detach()
        if tensor.untyped_storage().nbytes() != tensor.nbytes:  # torch.save writes whole storages
            tensor = tensor.clone()
        modules.setdefault(module, {})[name] = tensor
    return modules


class _Counted:
    """A file that tells how much was written to it."""

    def __init__(self, file: BinaryIO, told: Callable[[int], None]) -> None:
        self.file, self.told, self.written = file, told, 0

    def write(self, data: bytes) -> int:
        count = self.file.write(data)
        self.written += count
        self.told(self.written)
        return count

    def flush(self) -> None:
        self.file.flush()
