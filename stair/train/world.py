"""The processes of one training run, and what they say to each other besides gradients.

Takes torchrun's environment (or none: a single process) and the engine settings, hands on a World. A lone
process joins no process group and pays for none. Small agreements always travel over gloo in CPU memory,
also on GPUs, so that they never wait for a kernel.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from stair.errors import StairError
from stair.train.config import EngineConfig

T = TypeVar("T")

DEAD_PEERS_ARE_ERRORS = {"TORCH_NCCL_ASYNC_ERROR_HANDLING": "1"}
"""NCCL: a peer that died or timed out takes this process down too, instead of leaving it in a kernel that
never returns (docs.pytorch.org, "ProcessGroupNCCL Environment Variables"). Not tried on GPUs yet."""
SAID_OF_LOST_PEERS = (
    "connection closed by peer",
    "connection reset",
    "connection refused",
    "connection was closed",
    "broken pipe",
    "no route to host",
    "network is unreachable",
    "timed out waiting",
    "wait timeout",
    "socket timeout",
    "connectfullmesh failed",
    "gloo/transport",
    "communicator was aborted",
)


@dataclass(frozen=True)
class World:
    """This process among the others."""

    device: torch.device
    rank: int = 0
    size: int = 1
    local_size: int = 1
    """Processes on this node, which is also the group size of hybrid sharding."""
    group: Any = None
    """The process group, or None for a lone process."""
    store: Any = None
    patience: timedelta = timedelta(minutes=30)
    """How long an exchange waits for the others."""

    @property
    def leads(self) -> bool:
        """True in the one process that writes and talks."""
        return self.rank == 0

    def total(self, values: Sequence[float]) -> list[float]:
        """Element-wise sums over all processes, in float64; collective."""
        if self.size == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(sums, group=self.group)
        return sums.tolist()

    def lead(self, action: Callable[[], T]) -> T:
        """Runs `action` in the leading process and gives everyone its result, or its StairError; collective.

        What one process alone decides (files found, folders made) cannot then differ between nodes.
        """
        if self.size == 1:
            return action()
        answer: list[Any] = [None, None]
        if self.leads:
            try:
                answer[0] = action()
            except StairError as error:
                answer[1] = (type(error), error.what, error.hint)
        dist.broadcast_object_list(answer, src=0, group=self.group)
        if answer[1] is not None:
            kind, what, hint = answer[1]
            raise kind(what, hint=hint)
        return answer[0]

    def gather(self, value: T) -> list[T]:
        """Every process's value, by rank; collective."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.group)
        return values

    def speaks_first(self) -> bool:
        """True for the first process that asks: the one whose error people shall read."""
        if self.store is None:
            return self.leads
        try:
            key = f"stair-error-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
            return self.store.add(key, 1) == 1
        except (RuntimeError, OSError):  # the store went down with its process: somebody has spoken
            return False


def choose_device(wanted: str, local_rank: int) -> torch.device:
    """The device of this process. Raises StairError when a GPU is asked for and none is there."""
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if local_rank >= count:
        raise StairError(
            f"process {local_rank} of this node has no GPU: torch sees {count}",
            hint="start fewer processes per node, or --engine.device cpu; stair-doctor looks for causes",
        )
    return torch.device("cuda", local_rank)


def join_world(engine: EngineConfig, environment: Mapping[str, str] = os.environ) -> World:
    """Meets the other processes, if there are any.

    Raises StairError without the device asked for, and torch's errors when another process does not come
    within `engine.timeout_s`: see `lost_peer`.
    """
    size = int(environment.get("WORLD_SIZE", "1"))
    rank = int(environment.get("RANK", "0"))
    local_size = int(environment.get("LOCAL_WORLD_SIZE", "1"))
    if engine.threads:
        torch.set_num_threads(engine.threads)
    device = choose_device(engine.device, int(environment.get("LOCAL_RANK", "0")))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if size == 1 and engine.shard in ("auto", "none"):
        return World(device)
    patience = timedelta(seconds=engine.timeout_s)
    if size == 1:
        store: Any = dist.HashStore()  # pyright: ignore[reportPrivateImportUsage]
    else:
        store, rank, size = next(rendezvous("env://", timeout=patience))
    if device.type == "cuda":
        for name, value in DEAD_PEERS_ARE_ERRORS.items():
            os.environ.setdefault(name, value)
    # Asynchronous checkpoints and small agreements need gloo beside NCCL.
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=patience)
    return World(device, rank, size, local_size, dist.group.WORLD, store, patience)


def lost_peer(error: BaseException) -> bool:
    """Whether an error says that another process is gone or silent, and nothing about this one.

    gloo speaks in plain RuntimeErrors, so their text decides (gloo/transport/tcp, torch's TCPStore).
    """
    if isinstance(error, (dist.DistBackendError, dist.DistNetworkError, dist.DistStoreError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in SAID_OF_LOST_PEERS)


def leave_world(world: World) -> None:
    """Takes leave of the process group in good order."""
    if world.group is not None and dist.is_initialized():
        dist.destroy_process_group()
