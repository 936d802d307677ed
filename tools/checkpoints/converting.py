"""tools/convert-checkpoint: one form of a checkpoint becomes another.

Takes any checkpoint, hands on a prismatic run directory, a Hugging Face folder or a STAIR model folder,
whole or not at all. Mapped tensors go from file to file; a model need not fit into memory, unless --dtype
converts it for a prismatic run.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from stair.console import say
from stair.errors import StairError, UsageError
from stair.models.formats.base_vlm import base_name
from stair.models.formats.checkpoint import Checkpoint, open_checkpoint
from stair.models.formats.detect import STEP, read_config
from stair.models.formats.fit import expected_shapes
from stair.models.formats.hf_writer import write_hf
from stair.models.formats.keys import to_hf
from stair.models.formats.prismatic_writer import Moment, run_config, write_prismatic
from stair.models.formats.safetensors_files import SHARD_BYTES
from stair.models.formats.stored import Stored
from stair.models.saved import SavedConfig, save_model
from tools.checkpoints.expected import expected_model
from tools.checkpoints.inspecting import report_parts
from tools.disk import byte_progress, require_space, size_text


def convert(
    checkpoint: Checkpoint,
    target: Path,
    form: str,
    *,
    saved: SavedConfig | None = None,
    moment: Moment | None = None,
    dtype: str = "",
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes `checkpoint` to `target` as prismatic, hf or stair.

    `saved` describes the model where the checkpoint does not; a STAIR folder needs it. Raises UsageError
    when it is missing or `target` exists, StairError when the model does not fit it or the disk is full.
    """
    if target.exists():
        raise UsageError(f"{target} exists", hint="name a new folder, or remove it first")
    saved = saved or checkpoint.saved
    tensors = {key: stored.cast(dtype) if dtype else stored for key, stored in checkpoint.tensors.items()}
    if form == "hf":
        tensors = {key: stored for key, stored in tensors.items() if to_hf(key)}
    total = sum(stored.size for stored in tensors.values())
    require_space(target, total + total // 50)
    told = byte_progress(f"writing {target.name}", total)
    statistics = checkpoint.statistics()
    if form == "prismatic":
        if any(stored.dtype != "float32" for stored in tensors.values()):
            say("note: OpenVLA's own code loads float32 weights only: --dtype float32")
        ours = saved if checkpoint.family == "stair" else None
        config = run_config(ours, base_name(read_config(checkpoint.place.run)))
        write_prismatic(target, tensors, config, statistics, moment or moment_of(checkpoint), told=told)
    elif form == "hf":
        write_hf(target, tensors, statistics, shard_bytes=shard_bytes, told=told)
    else:
        saved = describe(checkpoint, saved, moment or moment_of(checkpoint))
        trees = {name: value.to_json() for name, value in statistics.items()}
        save_model(target, saved, tensors, trees, shard_bytes=shard_bytes, told=told)
    _tell(checkpoint, tensors, target, total)


def describe(checkpoint: Checkpoint, saved: SavedConfig | None, moment: Moment) -> SavedConfig:
    """What a STAIR folder says of a checkpoint's model. Raises StairError when the two do not fit."""
    if saved is None:
        raise UsageError(
            f"{checkpoint.place.weights} does not say what model it is",
            hint="--config full, a recipe, or the config.yaml of a run",
        )
    if checkpoint.saved is None:
        stage = "stage2" if "oformer" in checkpoint.parts else "stage1"
        if checkpoint.family != "stair":  # another's weights: no stage of ours trained them
            stage = checkpoint.family
        saved = replace(saved, stage=stage, step=moment.step)
    for part in report_parts(checkpoint, expected_shapes(saved.model, saved.inputs)):
        if part.verdict == "does not fit":
            raise StairError(
                f"{part.name} does not fit the configuration",
                hint=f"tools/inspect-checkpoint {checkpoint.place.path} --against CONFIG lists what differs",
            )
    return saved


def moment_of(checkpoint: Checkpoint) -> Moment:
    """When a checkpoint was taken, by its file name or its own record."""
    found = STEP.fullmatch(checkpoint.place.weights.name)
    if found:
        return Moment(int(found["step"]), int(found["epoch"] or 0), float(found["loss"] or "inf"))
    return Moment(checkpoint.saved.step if checkpoint.saved else 0)


def _tell(checkpoint: Checkpoint, tensors: dict[str, Stored], target: Path, total: int) -> None:
    left = [part for part in checkpoint.parts if not any(key.startswith(f"{part}.") for key in tensors)]
    if left or checkpoint.left:
        say(f"not in it: {', '.join([*left, *([checkpoint.left_in_short] if checkpoint.left else [])])}")
    say(f"{checkpoint.title} → {target}: {len(tensors):,} tensors, {size_text(total)}")


def main(words: list[str] | None = None) -> int:
    """Parses the command line and converts."""
    parser = argparse.ArgumentParser(
        prog="convert-checkpoint",
        description="One form of a checkpoint becomes another, whole or not at all.",
    )
    parser.add_argument("source", help="any checkpoint; see tools/inspect-checkpoint")
    parser.add_argument("target", help="the folder to make")
    parser.add_argument("--to", required=True, choices=("prismatic", "hf", "stair"))
    parser.add_argument(
        "--config",
        default="",
        help="what model it is, where the source does not say: full, a recipe, a config.yaml",
    )
    parser.add_argument("--dtype", default="", choices=("", "float32", "bfloat16", "float16"))
    parser.add_argument("--shard-gb", type=float, default=SHARD_BYTES / 1e9, help="largest safetensors file")
    parser.add_argument("--step", type=int, help="prismatic: the step in the file's name")
    parser.add_argument("--epoch", type=int, help="prismatic: the epoch in the file's name")
    parser.add_argument("--loss", type=float, help="prismatic: the loss in the file's name")
    options = parser.parse_args(words)
    checkpoint = open_checkpoint(Path(options.source))
    given = {name: getattr(options, name) for name in ("step", "epoch", "loss")}
    moment = replace(
        moment_of(checkpoint), **{name: value for name, value in given.items() if value is not None}
    )
    convert(
        checkpoint,
        Path(options.target),
        options.to,
        saved=expected_model(options.config) if options.config else None,
        moment=moment,
        dtype=options.dtype,
        shard_bytes=int(options.shard_gb * 1e9),
    )
    return 0
