"""`python -m stair.doctor.deep.summing BACKEND RANK HOST PORT WAIT_S`: one of two that add up numbers.

Runs where torch is, with gloo on CPUs or nccl on the first GPU it sees. Says each stage before it begins it,
one JSON line each, so that whoever ends it knows where it stood; the last line holds the result. The sums are
of whole numbers and have to be right to the last one. Not yet run with nccl: the same lines run with gloo.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import timedelta
from statistics import median
from typing import Any

MESSAGE_MB = {"gloo": 16, "nccl": 256}
"""What is added up for the bandwidth; a latency is that of one number."""
MEASURE_S = 1.0
SMALL_TIMES = 50


def main(backend: str, rank: str, host: str, port: str, wait_s: str) -> None:
    """Meets the other process, adds, measures, tells."""
    try:
        _work(backend, int(rank), host, int(port), timedelta(seconds=float(wait_s)))
    except ImportError as error:
        _tell(error=str(error), no_torch=True)
    except (RuntimeError, OSError, ValueError) as error:  # torch's DistError is a RuntimeError
        _tell(error=" ".join(str(error).split())[:500] or type(error).__name__)


def _work(backend: str, rank: int, host: str, port: int, wait: timedelta) -> None:
    _tell(stage="torch")
    import torch
    import torch.distributed as dist

    device = "cuda" if backend == "nccl" else "cpu"
    if device == "cuda":
        if not torch.cuda.is_available():
            raise RuntimeError(f"torch {torch.__version__} sees no GPU here")
        torch.cuda.set_device(0)
    _tell(stage="meet")  # TCP to the first node: names, routes, firewalls
    store = dist.TCPStore(host, port, 2, rank == 0, wait)  # pyright: ignore[reportPrivateImportUsage]
    _tell(stage="group")  # every process to every other one, over the chosen network
    dist.init_process_group(backend, store=store, rank=rank, world_size=2, timeout=wait)
    dist.all_reduce(torch.zeros(1, device=device))  # nccl connects no earlier
    _tell(stage="sum")
    result: dict[str, Any] = {"torch": torch.__version__, "right": _right_sum(rank, device)}
    _tell(stage="measure")
    _tell(**result, **measure(MESSAGE_MB[backend], device), stage="done")


def _right_sum(rank: int, device: str) -> bool:
    import torch
    import torch.distributed as dist

    numbers = torch.arange(1_000_003, device=device) % 1000  # not a multiple of anything that is sent at once
    mine = (numbers + 1000 * rank).float()
    dist.all_reduce(mine)
    return bool((mine == (2 * numbers + 1000).float()).all())


def measure(message_mb: int, device: str) -> dict[str, float]:
    """`bus_gb_s` (for two processes it is bytes by time) and `latency_us` of an all-reduce."""
    import torch
    import torch.distributed as dist

    big = torch.zeros(message_mb * 10**6 // 4, device=device)
    _seconds(big)  # connections are made at the first one
    once = torch.tensor([_seconds(big)], device=device)
    dist.all_reduce(once, dist.ReduceOp.MAX)  # both have to do the same number
    times = max(1, min(50, int(MEASURE_S / max(float(once), 1e-6))))
    rate = big.numel() * 4 / median(_seconds(big) for _ in range(times)) / 1e9
    small = torch.zeros(1, device=device)
    latency = median(_seconds(small) for _ in range(SMALL_TIMES))
    return {"message_mb": message_mb, "bus_gb_s": round(rate, 3), "latency_us": round(latency * 1e6, 1)}


def _seconds(tensor: Any) -> float:
    import torch
    import torch.distributed as dist

    if tensor.is_cuda:
        torch.cuda.synchronize()
    started = time.perf_counter()
    dist.all_reduce(tensor)
    if tensor.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _tell(**said: Any) -> None:
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
    # Leaving a group in order waits for a process that may be gone.
    os._exit(0)
