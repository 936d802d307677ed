"""tools/cache-dynamics RECIPE FOLDER [--shard i/n] [--dotted overrides]: the dynamic encoder runs once.

Takes a training recipe (stage1, or a YAML file) and an empty or begun folder; afterwards
`--train.data.dynamic_tokens FOLDER` trains without clips and without the encoder. Several jobs share the work
with --shard 0/8 … 7/8. Killed jobs go on where they stopped when their command is repeated.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stair.console import Progress, say, show, show_table
from stair.errors import FINE, UsageError
from stair.settings import parse_overrides
from stair.submit.job import TrainJob
from stair.submit.recipe import make_chain, read_recipe
from stair.train.config import TrainConfig
from tools.disk import require_space, size_text

if TYPE_CHECKING:
    from tools.caching.work import Task

ROOM = 64 * 2**20
"""Bytes that the disk must have beyond what the tokens need."""


def parser() -> argparse.ArgumentParser:
    """The command's words besides overrides of the recipe."""
    about = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser("cache-dynamics", description=about[1], allow_abbrev=False)
    parser.add_argument("recipe", help="a training recipe by name, or a YAML file")
    parser.add_argument("folder", type=Path, help="where the tokens go")
    parser.add_argument("--shard", default="0/1", metavar="i/n", help="this job's share of the work")
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), help="default float16")
    parser.add_argument("--rows", type=int, help="steps per file; default 4096")
    parser.add_argument("--batch", type=int, default=16, help="clips that are encoded together")
    parser.add_argument("--dry", action="store_true", help="show what would be done, and do nothing")
    parser.add_argument("--json", action="store_true", help="the result as JSON on stdout")
    return parser


def read_config(recipe: str, words: Sequence[str]) -> TrainConfig:
    """The settings of a recipe's first training step, overridden."""
    chain = make_chain(recipe, read_recipe(recipe), parse_overrides(words))
    for step in chain.steps:
        if isinstance(step.job, TrainJob):
            return step.job.train
    raise UsageError(f"recipe '{recipe}' trains nothing", hint="stage1, or another recipe that trains")


def main(words: Sequence[str] | None = None) -> int:
    """Plans, and unless `--dry` does it."""
    options, overrides = parser().parse_known_args(sys.argv[1:] if words is None else words)
    config = read_config(options.recipe, overrides)
    for name in ("rows", "batch"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise UsageError(f"--{name} {getattr(options, name)}", hint="1 or more")

    from stair.models.parts.dynamic import build_encoder
    from tools.caching.work import Share, config_device, do_task, plan_tasks

    share = Share.read(options.shard)
    encoder = build_encoder(config.model.dynamic, config.inputs.clip).to(config_device(config))
    tasks = plan_tasks(config, encoder, options.folder, share, options.dtype, options.rows)
    require_space(options.folder, sum(task.bytes for task in tasks) + ROOM)
    began, rows = time.monotonic(), sum(task.rows for task in tasks)
    if not options.dry:
        for task in tasks:
            if task.missing:
                name = f"encoding {task.tokens.dataset} {task.tokens.split}"
                do_task(task, config, encoder, options.batch, Progress(name, task.rows).update)
    seconds = time.monotonic() - began
    tell(options, tasks, rows, seconds)
    return FINE


def tell(options: Any, tasks: Sequence[Task], rows: int, seconds: float) -> None:
    """The result, for people or programs."""
    if options.json:
        result = {
            "folder": str(options.folder),
            "shard": options.shard,
            "dry": options.dry,
            "clips": rows,
            "clips_per_s": None if options.dry or not rows else round(rows / seconds, 2),
            "sets": [as_json(task) for task in tasks],
        }
        show(json.dumps(result))
        return
    what = "to encode" if options.dry else "encoded"
    show_table(
        f"{options.folder}, share {options.shard}",
        ["data set", "steps", "files", "found", what, "size"],
        [
            (
                f"{task.tokens.dataset} {task.tokens.split}",
                task.tokens.rows,
                task.tokens.shards,
                len(task.found),
                len(task.missing),
                size_text(task.bytes),
            )
            for task in tasks
        ],
    )
    if rows and not options.dry:
        say(f"{rows} clips in {seconds:.0f} s, {rows / seconds:.1f} per second")


def as_json(task: Task) -> dict[str, Any]:
    """A data set's share for programs."""
    return {
        "dataset": task.tokens.dataset,
        "split": task.tokens.split,
        "rows": task.tokens.rows,
        "files": task.tokens.shards,
        "found": len(task.found),
        "missing": len(task.missing),
        "bytes": task.bytes,
        "dtype": task.tokens.dtype,
    }
