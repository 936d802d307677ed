"""A training run from its settings to its end.

Takes a TrainConfig and the World of processes, hands on an exit code; everything else is in the run folder.
Whether a run begins or goes on is decided by the folder: it goes on when it holds a complete checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from stair import settings
from stair.console import say
from stair.data.loader import Corpus, dead_reader, tells_of_a_dead_reader
from stair.data.statistics import FILE, Statistics, write_statistics
from stair.errors import FINE
from stair.models.build import build_model
from stair.models.parts.dynamic import refuse_other_encoder
from stair.models.saved import SavedConfig, load_parts, save_model
from stair.rundir import RunDir, write_whole
from stair.train.config import TrainConfig
from stair.train.ema import Ema
from stair.train.manifest import Status, begin_attempt, end_attempt, fingerprint
from stair.train.optim import make_optimizer
from stair.train.refusals import refuse_impossible
from stair.train.resume import Resume, find_resume, refuse_another_run, restore, sweep
from stair.train.saver import Saver
from stair.train.spread import spread
from stair.train.stages import STAGES, freeze_parts, start_from, trainable_parts
from stair.train.stop import TRY_AGAIN, StopRequest
from stair.train.tracking import Tracker
from stair.train.trainer import Trainer, seed_all
from stair.train.world import World


def train(config: TrainConfig, world: World, stop: StopRequest | None = None) -> int:
    """Trains, or goes on training, until the last step or until asked to stop; collective.

    Returns 0 when the last step is done, TRY_AGAIN when the run saved itself on request. Raises StairError
    for all that settings, data or disk can do wrong; the newest checkpoint then still stands. `stop` listens
    already if it is given, else this function listens while it trains.
    """
    if stop is None:
        with StopRequest() as stop:
            return train(config, world, stop)
    refuse_impossible(config, world)
    stage, run = STAGES[config.stage], RunDir(Path(config.run))
    learning = trainable_parts(stage, config.freeze)
    resume = world.lead(lambda: open_run(run))
    corpus = Corpus.open(config.data, config.inputs)
    held_out = None
    if config.data.held_out:
        plain = replace(config.data, augment=config.data.augment.still())  # as serving would see it
        held_out = Corpus.open(plain, config.inputs, held_out=True)
    statistics = {name: value.to_json() for name, value in corpus.statistics.items()}
    data_hash = fingerprint(statistics)
    if resume is not None:
        refuse_another_run(resume, config, data_hash)

    def shaped() -> nn.Module:
        model = build_model(config.model, config.inputs)
        if corpus.tokens is not None:
            refuse_other_encoder(model.dynamic_encoder, corpus.tokens.encoder)  # type: ignore[arg-type]
        freeze_parts(model, learning)
        return model

    def filled() -> nn.Module:
        seed_all(config.seed, world.device)
        model = shaped()
        if resume is None:
            start_from(model, stage, config, aloud=world.leads)
        else:
            load_parts(model, resume.checkpoint.model, frozen_parts(model))
        return model

    model = spread(filled, shaped, world, config.engine)
    counts = parameter_counts(model)
    optimizer = make_optimizer(model, config.optimizer)
    ema = Ema(model, config.ema) if config.ema.decay else None
    if resume is not None:
        restore(resume, model, optimizer, ema)

    saver = Saver(
        run,
        world,
        keep=config.checkpoint.keep,
        background=config.checkpoint.background,
        state={"config": settings.dump(config), "statistics_hash": data_hash, "processes": world.size},
        write_model=lambda folder, step, tensors: save_model(
            folder, SavedConfig(config.stage, config.model, config.inputs, step), tensors, statistics
        ),
    )
    facts = {
        "stage": config.stage,
        "seed": config.seed,
        "init_from": config.init_from,
        "statistics_sha256": data_hash,
        "samples": len(corpus),
        "held_out_samples": len(held_out) if held_out is not None else 0,
        "parameters": counts,
    }
    first = resume.checkpoint.step if resume else 0
    if first < config.steps and any(world.gather(stop.wanted)):
        if world.leads:
            say(f"{config.stage}: told to stop before step {first + 1}; nothing new to save")
        return TRY_AGAIN
    attempt = world.lead(lambda: begin(run, config, corpus.statistics, facts, first, world.size))
    if world.leads:
        say(opening_line(config, world, counts, len(corpus), resume))
    tracker = Tracker(run, config, attempt=attempt, first_step=first, aloud=world.leads)
    trainer = Trainer(config, stage, world, model, optimizer, saver, tracker, held_out, ema)
    status: Status = "failed"
    try:
        finished = trainer.run(corpus, first, stop)
        saver.finish()
        status = "finished" if finished else "stopped"
    except RuntimeError as error:
        if tells_of_a_dead_reader(error):
            raise dead_reader(error) from None
        raise
    finally:
        if status == "failed":
            saver.abandon()
        trainer.recording.close()
        tracker.close()
        if world.leads:
            end_attempt(run, status, trainer.done)
    if world.leads:
        newest = run.latest_checkpoint()
        say(f"{config.stage} {status} at step {trainer.done}" + (f": {newest.model}" if newest else ""))
    return FINE if finished else TRY_AGAIN


def open_run(run: RunDir) -> Resume | None:
    """Makes the run folder, clears what a killed attempt left half-written, finds where to go on."""
    run.create()
    resume = find_resume(run)
    for name in sweep(run):
        say(f"removed {name}, an unfinished checkpoint of an earlier attempt")
    return resume


def begin(
    run: RunDir,
    config: TrainConfig,
    statistics: Mapping[str, Statistics],
    facts: dict[str, Any],
    first: int,
    processes: int,
) -> int:
    """Writes config.yaml, dataset_statistics.json in OpenVLA's form, and the manifest's new attempt; returns
    the attempt's number."""
    import yaml

    write_whole(run.config, yaml.safe_dump(settings.dump(config), sort_keys=False))
    write_statistics(run.path / FILE, statistics)
    return begin_attempt(run, facts, step=first, processes=processes)


def opening_line(
    config: TrainConfig, world: World, counts: dict[str, dict[str, int]], samples: int, resume: Resume | None
) -> str:
    """What people read first."""
    trained = sum(part["trained"] for part in counts.values())
    total = sum(part["all"] for part in counts.values())
    line = (
        f"{config.stage}: {trained:,} of {total:,} parameters train on {samples:,} samples, "
        f"{world.size} x {world.device.type}, {config.engine.precision}"
    )
    if resume is None:
        return line
    line += f"; goes on from step {resume.checkpoint.step}"
    if resume.processes != world.size:
        line += f" (begun with {resume.processes} processes: equal up to rounding)"
    return line


def parameter_counts(model: nn.Module) -> dict[str, dict[str, int]]:
    """Of each part: how many parameters it has, and how many of them train."""
    parts: dict[str, nn.Module] = model.parts()  # type: ignore[operator]
    return {
        name: {
            "all": sum(p.numel() for p in part.parameters()),
            "trained": sum(p.numel() for p in part.parameters() if p.requires_grad),
        }
        for name, part in parts.items()
    }


def frozen_parts(model: nn.Module) -> list[str]:
    """The parts of which something does not train, and which a checkpoint's training folder lacks."""
    parts: dict[str, nn.Module] = model.parts()  # type: ignore[operator]
    return [name for name, part in parts.items() if any(not p.requires_grad for p in part.parameters())]
