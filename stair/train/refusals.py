"""Settings that no run could follow, refused before anything is made; pure."""

from __future__ import annotations

from stair.errors import UsageError
from stair.train.config import TrainConfig
from stair.train.passes import rows_per_pass
from stair.train.world import World


def refuse_impossible(config: TrainConfig, world: World) -> None:
    """Raises UsageError for what cannot be done, by the name of the setting."""
    at_least = {
        "steps": (config.steps, 1),
        "data.batch_size": (config.data.batch_size, 1),
        "engine.accumulate": (config.engine.accumulate, 1),
        "checkpoint.every": (config.checkpoint.every, 1),
        "tracking.log_every": (config.tracking.log_every, 1),
        "tracking.profile": (config.tracking.profile, 0),
        "stage2.warm_steps": (config.stage2.warm_steps, 0),
        "stage2.mix_steps": (config.stage2.mix_steps, 0),
    }
    for name, (value, least) in at_least.items():
        if value < least:
            raise UsageError(f"{name} is {value}", hint=f"--{name} {least} or more")
    if not 0 <= config.ema.decay < 1:
        raise UsageError(f"ema.decay is {config.ema.decay}", hint="0 (off) or a share below 1, e.g. 0.9999")
    if not 0 <= config.stage2.mix_target <= 1:
        raise UsageError(f"stage2.mix_target is {config.stage2.mix_target}", hint="a share from 0 to 1")
    if config.stage2.mix_target and not config.stage2.mix_steps:
        raise UsageError(
            "stage2.mix_target mixes for no steps: stage2.mix_steps is 0",
            hint="--stage2.mix_steps N: the share is 0 after N steps",
        )
    if config.optimizer.learning_rate <= 0:
        raise UsageError(f"optimizer.learning_rate is {config.optimizer.learning_rate}", hint="above 0")
    if config.engine.frozen_dtype == "bf16" and config.engine.precision != "bf16":
        raise UsageError(
            "engine.frozen_dtype bf16 under engine.precision fp32: the two do not compute together",
            hint="--engine.precision bf16, or --engine.frozen_dtype fp32",
        )
    rows_per_pass(config, world)
