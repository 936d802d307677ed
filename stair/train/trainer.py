"""The training loop: batch, draws, losses, gradients, step; now and then a log line and a checkpoint.

Takes a model, its optimizer and a corpus, hands on a trained model in checkpoints. What a step computes
depends on the settings and its number only: batch, noise and dropout of step n are functions of (seed, n),
drawn for the whole global batch by every process. So the number of processes does not matter, and a run
that was killed goes on bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from stair.data.loader import Corpus, Loader
from stair.data.sample import Batch
from stair.errors import StairError
from stair.models.base import Draws
from stair.train.config import TrainConfig
from stair.train.ema import Ema
from stair.train.flops import Work, patches, peak_of
from stair.train.fsdp import average_copies, computing, last_of_step, let_go
from stair.train.heldout import held_out_losses
from stair.train.optim import clip_gradients, lr_at, set_rate
from stair.train.passes import pass_slices, rows_of
from stair.train.profiling import Recording
from stair.train.saver import Saver
from stair.train.stage2 import target_share, warms
from stair.train.stages import Stage, trainable_parts
from stair.train.stop import StopRequest
from stair.train.tracking import Stopwatch, Tracker, memory_mb
from stair.train.world import World

STEP_NOISE, STEP_DRAWS, HELD_OUT = range(3)
"""What a seed is for, so that no two purposes share one."""


class Trainer:
    """The loop and what it holds; `done` counts finished steps."""

    def __init__(
        self,
        config: TrainConfig,
        stage: Stage,
        world: World,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        saver: Saver,
        tracker: Tracker,
        held_out: Corpus | None = None,
        ema: Ema | None = None,
    ) -> None:
        self.config, self.stage, self.world = config, stage, world
        self.model, self.optimizer = model, optimizer
        self.saver, self.tracker, self.held_out, self.ema = saver, tracker, held_out, ema
        self.passes = pass_slices(config, world)
        self.work = work_of(config, stage, world)
        self.watch = Stopwatch(self.work)
        self.recording = Recording(
            tracker.run.logs, config.tracking.profile if world.leads else 0, world.device
        )
        self.done = 0

    def run(self, corpus: Corpus, first: int, stop: StopRequest) -> bool:
        """Trains from step `first` to the last. Returns False when it saved and left because of `stop`."""
        config, tracking = self.config, self.config.tracking
        self.done = saved = first
        train_mode(self.model)
        batches = self.batches(corpus, first)
        self.watch = Stopwatch(self.work)
        while self.done < config.steps:
            values, stopping = self.step(batches, stop)
            self.done += 1
            self.recording.step()
            last = self.done == config.steps
            validating = self.held_out is not None and (
                last or (tracking.validate_every and self.done % tracking.validate_every == 0)
            )
            if validating or last or self.done == 1 or self.done % tracking.log_every == 0:
                values |= self.watch.read() | {"memory_mb": memory_mb(self.world.device)}
                values |= self.validate() if validating else {}
                self.tracker.tell(self.done, values)
                self.watch = Stopwatch(self.work)
            if last or stopping or self.done % config.checkpoint.every == 0:
                self.saver.save(self.done, self.model, self.optimizer, self.ema)
                saved = self.done
            self.tracker.tick(self.done)
            if stopping and not last:
                return False
        assert saved == self.done
        return True

    def step(self, batches: Iterator[Batch], stop: StopRequest) -> tuple[dict[str, float], bool]:
        """One optimiser step. Returns its values, the same in every process, and whether anyone must stop."""
        config, number = self.config, self.done
        rate = lr_at(number, config.optimizer, config.steps)
        set_rate(self.optimizer, rate)
        warm, share = warms(number, config), target_share(number, config)
        seed_all(seed_of(config.seed, STEP_NOISE, number, self.world.rank), self.world.device)
        waiting = time.perf_counter()
        batch = next(batches)
        self.watch.waited_s += time.perf_counter() - waiting
        words = float(batch.token_mask.sum())

        batch = batch.to(self.world.device)
        draws = self.draw(seed_of(config.seed, STEP_DRAWS, number), share)
        sums: dict[str, Tensor] = {}
        for turn, (local, rows) in enumerate(self.passes):
            last_of_step(self.model, turn == len(self.passes) - 1)
            with computing(self.world, config.engine):
                part = draws.part(rows).to(self.world.device)
                losses = self.model(rows_of(batch, local), part, self.stage.condition, warm)
            (losses["loss"] / len(self.passes)).backward()
            for name, loss in losses.items():
                sums[name] = sums[name] + loss.detach() if name in sums else loss.detach()
        average_copies(self.model, self.world)
        norm = clip_gradients(self.optimizer, config.optimizer.clip_norm)

        # The one meeting of a step: what was computed, who was asked to stop, whose checkpoint failed.
        names = list(sums)
        mine = torch.stack([*(sums[name].float() for name in names), norm.float()]).tolist()
        told = self.world.total([*mine, words, float(stop.wanted), float(self.saver.failed)])
        if told[-1]:
            self.saver.finish()  # raises
        parts = self.world.size * len(self.passes)
        values = {key(name): total / parts for name, total in zip(names, told, strict=False)}
        values |= {"grad_norm": told[-4] / self.world.size, "lr": rate}
        if config.stage2.mix_target and self.stage.name == "stage2":
            values["target_share"] = share
        refuse_non_finite(values, number + 1)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.update()
        self.watch.samples += config.data.batch_size
        self.watch.tokens += told[-3] + config.data.batch_size * patches(
            config.model.vision.dino, config.inputs
        )
        return values, bool(told[-2])

    def draw(self, seed: int, target_share: float = 0.0) -> Draws:
        """The randomness of a global batch."""
        generator = torch.Generator().manual_seed(seed)
        return self.model.draw(self.config.data.batch_size, generator, target_share)  # type: ignore[operator]

    def batches(self, corpus: Corpus, first: int, workers: int | None = None) -> Iterator[Batch]:
        """This process's batches from step `first` on, without end."""
        data = self.config.data
        loader = Loader(
            corpus,
            data.batch_size // self.world.size,
            rank=self.world.rank,
            world=self.world.size,
            start_step=first,
            global_batch=data.batch_size,
            workers=data.workers if workers is None else workers,
            with_clips=self.stage.needs_clips,
        )
        return iter(loader)

    def validate(self) -> dict[str, float]:
        """The held-out losses of what would be served: always the same batches with the same noise."""
        assert self.held_out is not None
        config, local = self.config, self.config.data.batch_size // self.world.size
        mine = slice(self.world.rank * local, (self.world.rank + 1) * local)
        with self.ema.in_place() if self.ema else nullcontext():
            found = held_out_losses(
                self.model,
                [c for c in self.stage.watches if c != "shuffled" or local > 1],
                islice(self.batches(self.held_out, 0, workers=0), config.tracking.validate_batches),
                lambda number: self.draw(seed_of(config.seed, HELD_OUT, number)).part(mine),
                self.world,
                config.engine,
            )
        let_go(self.model)
        return found


def work_of(config: TrainConfig, stage: Stage, world: World) -> Work:
    """What a run computes and what its GPUs could; the peak is that of bf16, so fp32 has none."""
    peak = 0.0
    if world.device.type == "cuda" and config.engine.precision == "bf16":
        peak = peak_of(torch.cuda.get_device_name(world.device)) * world.size
    learning = trainable_parts(stage, config.freeze)
    return Work(config.model, config.inputs, stage.condition, learning, peak)


def seed_of(*words: int) -> int:
    """A seed for a purpose, mixed so that neighbours have nothing in common (numpy's SeedSequence)."""
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_all(seed: int, device: torch.device) -> None:
    """Seeds torch's default generators. Every step does, so that no generator's state must be saved."""
    torch.default_generator.manual_seed(seed)  # torch.manual_seed asks every backend: 100 times slower
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def train_mode(model: nn.Module) -> None:
    """Training mode for what trains; a frozen part stays in eval mode, or its dropout would be noise."""
    model.train()
    for part in model.parts().values():  # type: ignore[operator]
        if not any(parameter.requires_grad for parameter in part.parameters()):
            part.eval()


def key(loss: str) -> str:
    """The name of a loss in the metrics: `loss`, and its parts as `loss_action` and so on."""
    return loss if loss == "loss" else f"loss_{loss}"


def refuse_non_finite(values: dict[str, float], step: int) -> None:
    """Raises StairError before a step that would spoil the weights."""
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise StairError(
            f"step {step}: {' and '.join(bad[:3])} not finite; the weights were not changed by it",
            hint="a lower --optimizer.learning-rate, a longer warm-up or --engine.precision fp32; "
            "the run goes on from its newest checkpoint",
        )
