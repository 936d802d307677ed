"""The three-way test of the dynamic condition, on data that is never trained on.

Takes held-out batches, hands on the action loss under the true clips, under another sample's clips and
under none, all with the same fixed noise. Stage 1 has learned something from the clips when the first stays
below the other two; only then is stage 2 worth starting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from stair.data.sample import Batch
from stair.models.base import Condition, Draws
from stair.train.config import EngineConfig
from stair.train.fsdp import computing
from stair.train.world import World


@torch.no_grad()
def held_out_losses(
    model: nn.Module,
    conditions: Iterable[Condition],
    batches: Iterable[Batch],
    draws_of: Callable[[int], Draws],
    world: World,
    engine: EngineConfig,
) -> dict[str, float]:
    """`held_out/loss_CONDITION` for each condition, means over all batches and processes; collective.

    `batches` are this process's, `draws_of(number)` its draws for the batch of that number; nothing is
    dropped from the condition, because the model is put into eval mode. `shuffled` needs two samples.
    """
    wanted = list(conditions)
    sums = dict.fromkeys(wanted, 0.0)
    count = 0
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        for number, batch in enumerate(batches):
            batch, draws = batch.to(world.device), draws_of(number).to(world.device)
            for condition in wanted:
                with computing(world, engine):
                    losses = model(batch, draws, condition)
                sums[condition] += float(losses["action"])
            count += 1
    finally:
        for module, training in modes:  # frozen parts may have stood in eval mode all along
            module.training = training
    totals = world.total([*sums.values(), float(count)])
    if not totals[-1]:
        return {}
    return {f"held_out/loss_{name}": value / totals[-1] for name, value in zip(wanted, totals, strict=False)}
