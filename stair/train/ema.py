"""An exponential moving average of the weights that train.

Takes a (possibly sharded) model after it was filled, hands on averages by parameter name, sharded as the
parameters are. The model folder of a checkpoint holds the average, its training folder both: what is served
is the average, and going on is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from stair.errors import UsageError
from stair.train.config import EmaConfig


class Ema:
    """`average` by parameter name; one `update` per optimiser step."""

    def __init__(self, model: nn.Module, config: EmaConfig) -> None:
        self.decay = config.decay
        self.live = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and name.split(".")[0] in config.parts
        }
        if not self.live:
            raise UsageError(
                f"nothing of ema.parts ({', '.join(config.parts)}) trains in this run",
                hint="name parts that train, or --ema.decay 0",
            )
        self.average: dict[str, Tensor] = {name: p.detach().clone() for name, p in self.live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Moves every average by 1 - decay of the way to its weight."""
        for average, weight in zip(_here(self.average.values()), _here(self.live.values()), strict=True):
            average.lerp_(weight, 1 - self.decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model holds the average inside, and its own weights again after."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for weight, average in zip(_here(self.live.values()), _here(self.average.values()), strict=True):
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)


def _here(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The tensors' parts in this process; changing them changes the tensors."""
    return [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]
