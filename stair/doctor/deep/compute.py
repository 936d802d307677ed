"""Each GPU's rates, measured one GPU after the other; without a GPU the CPU's, as facts without a judgement.

Takes GPUs and the place where torch is, hands on one fact per device as rates.py tells it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from stair.console import say
from stair.doctor.deep import rates
from stair.doctor.deep.child import Ended, run
from stair.doctor.deep.gpus import CPU, Gpu
from stair.doctor.deep.inside import Place
from stair.errors import StairError

LIMIT_S = 180.0
"""For one device: 5 s of measuring, and torch may take a minute to load from a slow network disk."""

Facts = dict[str, Any]


def compute(
    place: Place, gpus: Sequence[Gpu], *, limit_s: float = LIMIT_S, host: Mapping[str, str] = os.environ
) -> list[Facts]:
    """One fact per GPU, in order."""
    return [_compute_one(place, gpu, limit_s, host) for gpu in gpus or (CPU,)]


def _compute_one(place: Place, gpu: Gpu, limit_s: float, host: Mapping[str, str]) -> Facts:
    device = "cpu" if gpu.index is None else "cuda"
    argv, variables = place.start(rates, [device], variables=gpu.variables, host=host)
    try:
        fact = read_rates(run(argv, variables, limit_s), limit_s)
    except StairError as error:
        fact = {"error": error.what, "no_torch": True}
    fact = {**fact, "gpu": gpu.index, "device": device, "name": fact.get("name") or gpu.name}
    found = [f"{name} {value:g}" for name, value in fact.items() if name.endswith(("_tflops", "_gb_s"))]
    say(f"  rates of {gpu}: {', '.join(found) or fact['error']}")
    return {**fact, "image": place.image}


def read_rates(ended: Ended, limit_s: float) -> Facts:
    """What rates.py told, or how it ended instead. Pure."""
    ending = {"seconds": round(ended.seconds, 2), "signal": ended.signal, "timed_out": ended.code is None}
    try:
        return {**json.loads(ended.out.strip().splitlines()[-1]), **ending}
    except (IndexError, ValueError, TypeError):
        pass
    if ended.code is None:
        return {"error": f"no rates within {limit_s:g} s", **ending}
    if ended.signal:
        words = f"it died of signal {ended.signal}; its last words: {ended.last_words}"
        return {"error": words, **ending}
    return {"error": ended.last_words, **ending}
