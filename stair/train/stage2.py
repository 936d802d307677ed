"""How stage 2 begins: first the oformer alone learns, then the target fades from the head's view; pure."""

from __future__ import annotations

from stair.train.config import Stage2Config, TrainConfig


def warms(step: int, config: TrainConfig) -> bool:
    """Whether only the oformer learns in the step after `step` finished ones."""
    return config.stage == "stage2" and step < config.stage2.warm_steps


def target_share(step: int, config: TrainConfig) -> float:
    """The share of samples whose head sees the oformer's target, in the step after `step` finished ones.

    Begins at `mix_target` when the warm steps are over and is 0 `mix_steps` later.
    """
    if config.stage != "stage2" or warms(step, config):
        return 0.0
    settings: Stage2Config = config.stage2
    gone = (step - settings.warm_steps) / settings.mix_steps if settings.mix_steps else 1.0
    return settings.mix_target * max(0.0, 1.0 - gone)
