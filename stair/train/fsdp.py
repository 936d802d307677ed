"""A single-device model becomes one that many processes compute together (FSDP2).

Takes a PolicyModel with its frozen parts already frozen, hands on the same module, its parameters sharded
(Zhao et al. 2023; per-parameter sharding). The surprise is gloo: torch 2.8 asks it for an averaging
reduce-scatter, and gloo silently sums (pytorch#162338), so gradients come out `processes` times too big.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.utils.checkpoint import checkpoint

from stair.errors import UsageError
from stair.train.config import EngineConfig
from stair.train.world import World

COMPILER = "inductor"


def sharded(world: World, engine: EngineConfig) -> bool:
    """Whether `shard` will shard, and not only move."""
    return world.group is not None and engine.shard != "none"


def shard(model: nn.Module, world: World, engine: EngineConfig) -> nn.Module:
    """Puts the model on its device, sharded over the processes unless there is only one.

    Each block is a unit of its own, gathered when it runs; what is left belongs to the root. Parameters
    outside the model's parts (the frozen encoder) are not sharded and keep their own dtype. A model on the
    meta device stays there, but for those.
    """
    blocks: list[nn.Module] = model.blocks()  # type: ignore[operator]
    if engine.frozen_dtype == "bf16":
        lower_frozen(model)
    for block in blocks:
        # Replacing forward keeps parameter names as they are; FSDP's hooks stay outside of it.
        if engine.compile:
            block.forward = torch.compile(block.forward, backend=COMPILER)
        if engine.activation_checkpointing:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    if not sharded(world, engine):
        return model.to(world.device)  # every process was seeded alike: copies are equal

    low = torch.bfloat16 if engine.precision == "bf16" else None
    policy = MixedPrecisionPolicy(param_dtype=low, reduce_dtype=torch.float32)
    mesh = make_mesh(world, engine)
    apart = outside_parts(model)
    for parameter in apart:
        parameter.data = parameter.data.to(world.device)
    for block in blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy, ignored_params=apart)
    if world.device.type == "cpu":
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.set_force_sum_reduction_for_comms(True)  # see above; divides before it sums
    return model


def make_mesh(world: World, engine: EngineConfig) -> DeviceMesh:
    """All processes in one row, or for hybrid sharding one row per node: shards within, copies across."""
    if engine.shard != "hybrid" or world.size == world.local_size:
        return init_device_mesh(world.device.type, (world.size,))
    if world.size % world.local_size:
        raise UsageError(
            f"hybrid sharding needs the same number of processes on every node, {world.size} processes "
            f"are no multiple of {world.local_size}",
            hint="--engine.shard full",
        )
    shape = (world.size // world.local_size, world.local_size)
    return init_device_mesh(world.device.type, shape, mesh_dim_names=("replicate", "shard"))


def lower_frozen(model: nn.Module) -> None:
    """Keeps what does not train of the model's parts in bf16."""
    apart = outside_parts(model)
    for parameter in model.parameters():
        if not parameter.requires_grad and parameter not in apart:
            parameter.data = parameter.data.to(torch.bfloat16)


def outside_parts(model: nn.Module) -> set[nn.Parameter]:
    """The parameters that belong to no named part: those of the frozen dynamic encoder."""
    parts: dict[str, nn.Module] = model.parts()  # type: ignore[operator]
    inside = {parameter for part in parts.values() for parameter in part.parameters()}
    return {parameter for parameter in model.parameters() if parameter not in inside}


def computing(world: World, engine: EngineConfig) -> AbstractContextManager:
    """The context of a forward pass: autocast to bf16, or nothing.

    Under FSDP parameters arrive in bf16 already; autocast then brings fp32 inputs (actions, clips) to them.
    """
    return torch.autocast(world.device.type, torch.bfloat16, enabled=engine.precision == "bf16")


def let_go(model: nn.Module) -> None:
    """Gives back what a forward pass without a backward left gathered.

    FSDP keeps the root's parameters whole until a backward comes; until then the model would neither name
    its shards nor notice that they changed.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def last_of_step(model: nn.Module, last: bool) -> None:
    """Tells a sharded model whether the coming backward ends the step.

    Every backward scatters its gradients to the shards: kept whole until the last one, as `no_sync` would,
    they would need the memory of the whole model. Only the sum over the nodes of hybrid sharding waits.
    """
    if isinstance(model, FSDPModule):
        model.set_requires_all_reduce(last)
        model.set_is_last_backward(last)


def average_copies(model: nn.Module, world: World) -> None:
    """Makes the gradients of unsharded copies their mean over the processes, in one message; collective.

    A sharded model reduced its gradients during backward, and a lone process has nothing to average.
    """
    if world.size == 1 or isinstance(model, FSDPModule):
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    mean = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(mean)  # summed and divided: gloo of torch 2.8 does not average
    mean /= world.size
    for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
