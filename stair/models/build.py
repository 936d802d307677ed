"""The visible list of policy models."""

from __future__ import annotations

from torch import nn

from stair.data.config import InputConfig
from stair.models.config import ModelConfig


def build_model(config: ModelConfig, inputs: InputConfig, *, for_deployment: bool = False) -> nn.Module:
    """Makes the model a configuration names, with fresh weights from torch's default generator.

    For deployment the parts that only training needs are not constructed.
    """
    match config.kind:
        case "stair":
            from stair.models.stair import Stair

            return Stair(config, inputs, for_deployment=for_deployment)
