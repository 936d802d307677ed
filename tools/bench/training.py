"""How fast a training step is: full size on a GPU, the small model where there is none.

    python tools/bench/training.py [--steps N] [--batch B] [--only NAME ...]

Stage 1 with the mock encoder on made-up samples, so that no data and no weights are needed. Each line is one
way to train, with and without compiled blocks: samples and tokens per second, MFU (stair/train/flops.py) and
peak memory. A way that does not fit into the GPU's memory says so and the next one runs.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from dataclasses import dataclass, replace
from typing import Any

import torch

from stair.data.config import ClipConfig, ImageConfig, InputConfig
from stair.data.sample import Batch
from stair.models.build import build_model
from stair.models.config import LlamaConfig, ModelConfig, OformerConfig, TowerConfig, VisionConfig
from stair.train.config import EngineConfig, FreezeConfig, OptimizerConfig
from stair.train.flops import Work, patches, peak_of
from stair.train.fsdp import computing, shard
from stair.train.optim import clip_gradients, make_optimizer
from stair.train.stages import STAGES, freeze_parts, trainable_parts
from stair.train.tracking import Stopwatch, memory_mb
from stair.train.trainer import train_mode
from stair.train.world import World

STAGE = STAGES["stage1"]
WORDS = 24
"""Tokens of a usual instruction in OpenVLA's template."""


@dataclass(frozen=True)
class Way:
    """One way to train."""

    name: str
    learning: frozenset[str]
    compile: bool = False
    checkpointing: bool = False
    batch: int = 32


def ways(batch: int) -> list[Way]:
    """From the least that trains to the most that may fit one GPU, each plain and compiled."""
    head = frozenset(STAGE.learns)
    align = trainable_parts(STAGE, FreezeConfig(True, True))
    last = trainable_parts(STAGE, FreezeConfig(True, True, last_llm_layer=False))
    several = [
        ("frozen VLM", head, False),
        ("projector (align)", align, True),
        ("last LLM layer", last, True),
    ]
    return [
        Way(name, learning, compiled, checkpointing, batch)
        for name, learning, checkpointing in several
        for compiled in (False, True)
    ]


def sizes(device: torch.device) -> tuple[ModelConfig, InputConfig]:
    """The full-size model, or a small one for a CPU."""
    if device.type == "cuda":
        return ModelConfig(), InputConfig()
    tower = TowerConfig(width=64, depth=3, heads=4, mlp_width=128, patch=8)
    small = ModelConfig(
        vision=VisionConfig(dino=tower, siglip=tower),
        llm=LlamaConfig(vocabulary=1024, width=96, depth=4, heads=4, mlp_width=192),
        oformer=OformerConfig(width=96, depth=1, heads=4, mlp_width=192),
    )
    small = replace(small, dynamic=replace(small.dynamic, width=96), head=replace(small.head, size="S"))
    return small, InputConfig(image=ImageConfig(size=64), clip=ClipConfig(image_size=64))


def made_up(size: int, model: ModelConfig, inputs: InputConfig) -> Batch:
    """Random samples of the right shapes."""
    image, clip, action = inputs.image.size, inputs.clip, inputs.action
    return Batch(
        images=torch.randint(0, 256, (size, 3, image, image), dtype=torch.uint8),
        clips=torch.randint(
            0, 256, (size, clip.frames, 3, clip.image_size, clip.image_size), dtype=torch.uint8
        ),
        token_ids=torch.randint(4, model.llm.vocabulary, (size, WORDS)),
        token_mask=torch.ones(size, WORDS, dtype=torch.bool),
        actions=torch.rand(size, action.chunk, action.dim) * 2 - 1,
        action_mask=torch.ones(size, action.chunk, dtype=torch.bool),
        proprio=torch.rand(size, 7),
        waypoints=torch.rand(size, 2, 3),
        positions=torch.arange(size),
    )


def measure(way: Way, device: torch.device, steps: int) -> dict[str, Any]:
    """Trains a fresh model `steps` steps after three that warm up."""
    model_config, inputs = sizes(device)
    precision = "bf16" if device.type == "cuda" else "fp32"
    engine = EngineConfig(
        precision=precision,
        frozen_dtype=precision,
        compile=way.compile,
        activation_checkpointing=way.checkpointing,
    )
    world = World(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with device:
        model = build_model(model_config, inputs)
    freeze_parts(model, way.learning)
    model = shard(model, world, engine)
    optimizer = make_optimizer(model, OptimizerConfig())
    train_mode(model)
    batch = made_up(way.batch, model_config, inputs).to(device)
    draws = model.draw(way.batch, torch.Generator().manual_seed(0)).to(device)  # type: ignore[operator]
    peak = peak_of(torch.cuda.get_device_name(device)) if device.type == "cuda" else 0.0
    watch = Stopwatch(Work(model_config, inputs, STAGE.condition, way.learning, peak))
    started = time.perf_counter()
    for step in range(steps + 3):
        if step == 3:
            _wait(device)
            warm_s = time.perf_counter() - started
            watch.read()
        with computing(world, engine):
            loss = model(batch, draws, STAGE.condition)["loss"]
        loss.backward()
        clip_gradients(optimizer, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    _wait(device)
    watch.samples = steps * way.batch
    watch.tokens = watch.samples * (WORDS + patches(model_config.vision.dino, inputs))
    values = watch.read()
    del values["data_wait_share"]
    return values | {"memory_mb": memory_mb(device), "warm_up_s": round(warm_s, 1)}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=0, help="measured steps (20 on a GPU, 3 without)")
    parser.add_argument("--batch", type=int, default=0, help="samples per step (32 on a GPU, 4 without)")
    parser.add_argument("--only", nargs="*", default=[], help="ways whose name holds one of these words")
    parser.add_argument("--plain", action="store_true", help="without the compiled ways")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    gpu = device.type == "cuda"
    if not gpu:
        print("no GPU is at hand: a small model on the CPU, not compiled; no MFU", file=sys.stderr)
    name = torch.cuda.get_device_name(device) if gpu else "cpu"
    for way in ways(options.batch or (32 if gpu else 4)):
        unwanted = options.only and not any(word in way.name for word in options.only)
        if unwanted or (way.compile and (options.plain or not gpu)):
            continue
        line: dict[str, Any] = {"bench": "training", "way": way.name, "compiled": way.compile}
        line |= {"batch": way.batch, "device": name, "torch": torch.__version__}
        try:
            line |= measure(way, device, options.steps or (20 if gpu else 3))
        except torch.OutOfMemoryError as error:
            line["failed"] = str(error).splitlines()[0]
        print(json.dumps(line), flush=True)
        torch.compiler.reset()
        gc.collect()
        if gpu:
            torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
