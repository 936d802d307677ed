"""What was measured, in a line per thing, for places where nothing is wrong. Pure.

Takes the `deep` of a visit, hands on names and what they say; what was not measured is left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stair.doctor.deep.measured import ENGINES
from stair.doctor.finding import Facts
from stair.doctor.sheet import rows, section

RATES = (
    ("bf16_tflops", "bf16", "TFLOP/s"),
    ("tf32_tflops", "TF32", "TFLOP/s"),
    ("fp32_tflops", "fp32", "TFLOP/s"),
    ("memory_gb_s", "memory", "GB/s"),
    ("host_to_device_gb_s", "from the host", "GB/s"),
)


def summarize_deep(deep: Facts) -> dict[str, str]:
    """Up to four lines: `pictures`, `rates`, `all-reduce` and `start`."""
    lines = {
        "pictures": "; ".join(_pictures(rows(deep, "draw"))),
        "rates": "; ".join(_rates(rows(deep, "compute"))),
        "all-reduce": _sum(section(deep, "all_reduce")),
        "start": ", ".join(
            f"{os.path.basename(str(fact['image']))} in {fact['median']:.1f} s"
            for fact in rows(deep, "container")
            if fact.get("ok")
        ),
    }
    return {name: text for name, text in lines.items() if text}


def _pictures(facts: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    for engine, name in ENGINES.items():
        mine = [fact for fact in facts if fact.get("engine") == engine]
        good = [fact for fact in mine if fact.get("ok")]
        if good:
            on = "the CPU" if good[0].get("gpu") is None else f"{len(good)} of {len(mine)} GPUs"
            yield f"{name} on {on} in {_span(good, 'draw_s')} s"


def _rates(facts: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    for device in dict.fromkeys(str(fact.get("name") or "CPU") for fact in facts):
        mine = [fact for fact in facts if str(fact.get("name") or "CPU") == device]
        found = [f"{word} {span} {unit}" for rate, word, unit in RATES if (span := _span(mine, rate))]
        if found:
            yield f"{f'{len(mine)} x ' if len(mine) > 1 else ''}{device}: {', '.join(found)}"


def _sum(fact: Mapping[str, Any]) -> str:
    if not fact.get("ok"):
        return ""
    nodes = fact.get("between") == "nodes"
    between = " and ".join(fact.get("hosts") or ["two nodes"]) if nodes else "two processes here"
    return f"{between}: {fact['bus_gb_s']:.3g} GB/s, {fact['latency_us']:.0f} us ({fact['backend']})"


def _span(facts: Sequence[Mapping[str, Any]], name: str) -> str:
    """`4.9`, or `4.9-6.1` where they differ."""
    values = sorted(fact[name] for fact in facts if fact.get(name))
    words = [f"{value:.0f}" if value >= 100 else f"{value:.3g}" for value in values]
    return "-".join(dict.fromkeys([words[0], words[-1]])) if words else ""
