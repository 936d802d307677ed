"""Who is there, and what they tell each other."""

from __future__ import annotations

import pytest
import torch

from stair.errors import StairError
from stair.train.config import EngineConfig
from stair.train.world import World, choose_device, join_world


def test_a_lone_process_joins_no_group_and_agrees_with_itself() -> None:
    world = join_world(EngineConfig(device="cpu"), {})
    assert (world.rank, world.size, world.group) == (0, 1, None)
    assert not torch.distributed.is_initialized()
    assert world.total([1.0, 2.5]) == [1.0, 2.5]
    assert world.gather("x") == ["x"]
    assert world.lead(lambda: 7) == 7
    assert world.speaks_first()


def test_a_process_without_its_own_gpu_says_how_many_there_are() -> None:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    with pytest.raises(StairError, match=f"torch sees {count}"):
        choose_device("cuda", count)


def test_auto_takes_the_cpu_where_there_is_no_gpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert choose_device("auto", 0) == torch.device("cpu")


def test_only_the_leading_process_leads() -> None:
    assert [World(torch.device("cpu"), rank=rank, size=2).leads for rank in (0, 1)] == [True, False]
