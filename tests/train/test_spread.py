"""One process holds the whole model, every process its shards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from stair.errors import StairError
from stair.models.build import build_model
from stair.models.saved import part_tensors
from stair.train.config import EngineConfig
from stair.train.spread import spread
from stair.train.world import World, join_world, leave_world
from tests.models.small import CONFIG, INPUTS, make_batch

ENGINE = EngineConfig(device="cpu", precision="fp32", shard="full")


@pytest.fixture
def world() -> Iterator[World]:
    """A process group of one: what is sharded over it is sharded in one piece."""
    world = join_world(ENGINE, {})
    yield world
    leave_world(world)


def build() -> nn.Module:
    return build_model(CONFIG, INPUTS)


def filled() -> nn.Module:
    torch.manual_seed(3)
    return build()


def test_the_shards_are_those_of_the_whole_model_with_its_buffers_and_its_encoder(world: World) -> None:
    model = spread(filled, build, world, ENGINE)
    whole = filled()
    assert isinstance(model, FSDPModule)
    assert all(isinstance(p, DTensor) for p in model.parameters())
    for key, value in part_tensors(model).items():
        assert torch.equal(value.full_tensor(), part_tensors(whole)[key]), key  # type: ignore[attr-defined]
    assert {n: b.sum() for n, b in model.named_buffers()} == {n: b.sum() for n, b in whole.named_buffers()}

    batch, draws = make_batch(), whole.draw(4, torch.Generator().manual_seed(0))  # type: ignore[operator]
    assert torch.equal(model(batch, draws, "dynamic")["loss"], whole(batch, draws, "dynamic")["loss"])


def test_the_others_need_no_whole_model(world: World) -> None:
    """What a process makes besides the leading one's model is a shape: filling it twice changes nothing."""
    devices: list[str] = []

    def shaped() -> nn.Module:
        model = build()
        devices.extend({p.device.type for p in model.parameters()})
        return model

    spread(filled, shaped, world, ENGINE)
    assert devices == ["meta"]


def test_what_keeps_the_leading_process_from_its_model_is_told(world: World) -> None:
    def nothing() -> nn.Module:
        raise StairError("no such model", hint="another")

    with pytest.raises(StairError, match="no such model"):
        spread(nothing, build, world, ENGINE)
