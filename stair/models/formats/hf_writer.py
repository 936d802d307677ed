"""The VLM of a checkpoint written as a Hugging Face `openvla-7b` folder.

Takes tensors by our keys, hands on sharded safetensors under that model's names, their index and a
config.json with the facts and statistics that its code reads. Only the VLM has a place there; head,
projection and oformer are left out.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from stair.data.statistics import Statistics
from stair.errors import StairError
from stair.models.formats.base_vlm import OURS
from stair.models.formats.keys import to_hf
from stair.models.formats.safetensors_files import SHARD_BYTES, write_safetensors
from stair.models.formats.stored import Stored
from stair.rundir import make_folder, write_json


def write_hf(
    folder: Path,
    tensors: Mapping[str, Stored],
    statistics: Mapping[str, Statistics],
    *,
    shard_bytes: int = SHARD_BYTES,
    told: Callable[[int], None] = lambda written: None,
) -> None:
    """Writes the folder whole or not at all. Raises StairError when the disk is full or not writable."""
    named = {name: stored for key, stored in tensors.items() if (name := to_hf(key))}
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    make_folder(temporary)
    try:
        write_safetensors(temporary, named, shard_bytes=shard_bytes, told=told)
        config = {
            "architectures": ["OpenVLAForActionPrediction"],
            "model_type": "openvla",
            **asdict(OURS),
            "torch_dtype": next(iter(named.values())).dtype,
            "norm_stats": {name: value.to_json() for name, value in statistics.items()},
        }
        write_json(temporary / "config.json", config)
        temporary.rename(folder)
    except Exception as error:  # safetensors raises its own type for a full disk
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, StairError):
            raise
        raise StairError(f"cannot write {folder}: {error}", hint="is the disk full or read-only?") from None
