"""`python -m stair.doctor.deep.rates cuda|cpu`: how fast this device multiplies and copies, as one JSON line.

Runs in a process of its own that sees one GPU, in the training image or wherever torch is. Products of small
integers, which are exact in every type used, are held against the CPU first: a device that is fast and wrong
is worse than a slow one. Times are those of the device (CUDA events); each rate is the best of three rounds,
because everything that disturbs makes slower. Not yet run on a GPU: the same lines run on the CPU in tests.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

ROUNDS, ROUND_S = 3, 0.3
SIDE = {"cuda": 8192, "cpu": 1024}
"""Of the matrices: 8192 keeps the largest GPU busy for a millisecond and needs 0.8 GB."""
MEMORY_MB = {"cuda": 1000, "cpu": 128}
"""Far above every cache."""
PINNED_MB = 256


def main(device: str) -> None:
    """Measures and prints. What torch cannot do is told as `error`."""
    said: dict[str, Any] = {"device": device, "name": "", "error": "", "wrong": []}
    try:
        import torch
    except ImportError as error:
        print(json.dumps({**said, "error": str(error), "no_torch": True}), flush=True)
        return
    said["torch"] = torch.__version__
    try:
        if device == "cuda":
            if not torch.cuda.is_available():
                raise RuntimeError(f"torch {torch.__version__} sees no GPU here")
            said["name"] = torch.cuda.get_device_name(0)
            free, total = torch.cuda.mem_get_info(0)
            said |= {"free_mb": free // 10**6, "total_mb": total // 10**6}
        measure(device, said, SIDE[device], MEMORY_MB[device])
    except RuntimeError as error:  # torch.OutOfMemoryError and CUDA's errors among them
        said["error"] = str(error).strip().splitlines()[0][:300]
    print(json.dumps(said), flush=True)


def measure(device: str, said: dict[str, Any], side: int, memory_mb: int) -> None:
    """Fills in rates in the order of what is needed most; those that were reached stay when one fails.

    `bf16_tflops`, `tf32_tflops` (CUDA), `fp32_tflops` (CPU); `memory_gb_s` counts what is read and what is
    written; `host_to_device_gb_s` from pinned memory (CUDA).
    """
    import torch

    # On CPUs without bf16 units its rate would tell nothing.
    kinds = {"bf16": torch.bfloat16, "tf32": torch.float32} if device == "cuda" else {"fp32": torch.float32}
    torch.backends.cuda.matmul.allow_tf32 = True
    # Partial sums rounded to bf16 would make a healthy GPU's product differ.
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    for name, dtype in kinds.items():
        if not right_product(device, dtype):
            said["wrong"].append(name)
        one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        out = torch.empty_like(one)
        seconds = best(lambda a=one, b=other, c=out: torch.matmul(a, b, out=c), device)
        said[f"{name}_tflops"] = round(2 * side**3 / seconds / 1e12, 3)
        del one, other, out
    count = memory_mb * 10**6 // 4
    source, target = torch.ones(count, device=device), torch.empty(count, device=device)
    seconds = best(lambda: target.copy_(source), device)
    said["memory_gb_s"] = round(2 * 4 * count / seconds / 1e9, 1)
    if device == "cuda":
        count = PINNED_MB * 10**6 // 4
        pinned = torch.ones(count).pin_memory()
        seconds = best(lambda: target[:count].copy_(pinned, non_blocking=True), device)
        said["host_to_device_gb_s"] = round(4 * count / seconds / 1e9, 1)


def right_product(device: str, dtype: Any) -> bool:
    """Whether a product of small integers is what the CPU gets in double precision.

    Factors are exact in bf16 and TF32, sums in float32; only the result is rounded, to 8 bits in bf16.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randint(-2, 3, (512, 512), generator=generator) for _ in range(2))
    right = one.double() @ other.double()
    got = (one.to(device, dtype) @ other.to(device, dtype)).double().cpu()
    return bool(((got - right).abs() <= right.abs() / 128).all())


def best(work: Callable[[], Any], device: str) -> float:
    """Seconds that one piece of work takes: the best round of ROUNDS, each of about ROUND_S."""
    work()  # chooses kernels, allocates
    once = _timed(work, 1, device)
    times = max(1, min(1000, int(ROUND_S / max(once, 1e-6))))
    return min(_timed(work, times, device) for _ in range(ROUNDS)) / times


def _timed(work: Callable[[], Any], times: int, device: str) -> float:
    if device != "cuda":
        started = time.perf_counter()
        for _ in range(times):
            work()
        return time.perf_counter() - started
    import torch

    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    for _ in range(times):
        work()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3


if __name__ == "__main__":
    main(sys.argv[1])
