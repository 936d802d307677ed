"""One whole model in one process becomes shards in all of them.

Takes how to make a model that is filled, and how to make one that only has shapes; hands on the sharded model
of this process. Eight processes that each built seven billion parameters before sharding would need 240 GB of
a node's memory: here only the leading one ever holds a whole model, and sends the others their tensors one by
one. So the first weights are those of a lone process, however many share the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from stair.train.config import EngineConfig
from stair.train.fsdp import shard, sharded
from stair.train.world import World


def spread(
    filled: Callable[[], nn.Module], shaped: Callable[[], nn.Module], world: World, engine: EngineConfig
) -> nn.Module:
    """The model of `filled`, on its device and sharded as the engine says; collective.

    `filled` makes the whole model; where models are sharded it runs in the leading process alone, and the
    StairError it may raise is everyone's. `shaped` makes the same model and is called on the meta device;
    what stands there outside the parts (the frozen encoder) must be real.
    """
    if not sharded(world, engine):
        return shard(filled(), world, engine)
    whole: list[nn.Module] = []
    world.lead(lambda: whole.append(filled()))
    with torch.device("meta"):
        model = shaped()
    model = shard(model, world, engine)
    apart = {name: child for name, child in model.named_children() if name not in _parts(model)}
    for name in apart:
        setattr(model, name, None)
    model.to_empty(device=world.device)
    for name, child in apart.items():
        setattr(model, name, child)
    _send(whole.pop() if whole else None, model, world)
    return model


@torch.no_grad()
def _send(whole: nn.Module | None, model: nn.Module, world: World) -> None:
    """Fills the parts of the sharded `model` of every process from the leading one's `whole`; collective."""
    have = _tensors(whole) if whole is not None else {}
    for name, place in _tensors(model).items():
        if name in have:
            full = have[name].detach().to(world.device, place.dtype).contiguous()
        else:
            full = torch.empty(place.shape, dtype=place.dtype, device=world.device)
        dist.broadcast(full, src=0, group=world.group)
        if isinstance(place, DTensor):
            place.copy_(distribute_tensor(full, place.device_mesh, place.placements, src_data_rank=None))
        else:
            place.copy_(full)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of the model's parts, also those that are not saved."""
    parts = _parts(model)
    every = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor for name, tensor in every if name.split(".")[0] in parts}


def _parts(model: nn.Module) -> dict[str, Any]:
    return model.parts()  # type: ignore[operator]
