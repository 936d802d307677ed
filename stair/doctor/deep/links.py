"""How fast an all-reduce between two nodes has to be, from what the sheet says of the network. Pure."""

from __future__ import annotations

import re

from stair.doctor.finding import Facts
from stair.doctor.sheet import rows

PORTS = range(15_000, 31_000)
"""As for the rendezvous of a training: below what Linux gives to clients, above the well-known."""

FRACTION = 0.3
"""nccl reaches 70-90 % of one InfiniBand port with GPUDirect, half of it through the host's memory."""
GLOO_FRACTION = 0.1
"""gloo adds up on one core over TCP: 1 GB/s is much, whatever the network is."""
GLOO_MOST_GB_S = 0.1
LEAST_GB_S = 1.0
"""For nccl where no speed is known: ten-gigabit Ethernet."""


def expected_gb_s(facts: Facts, backend: str) -> tuple[float, str]:
    """The least bus bandwidth in GB/s that is no warning, and in words why."""
    ports = [
        (_gigabits(str(port.get("rate"))), f"InfiniBand {port.get('device')} has {port.get('rate')}")
        for port in rows(facts, "network", "infiniband")
        if port.get("state") == "ACTIVE"
    ]
    wires = [
        (
            8 * float(wire["speed_mb_s"]) / 1000,
            f"{wire.get('name')} has {8 * wire['speed_mb_s'] / 1000:g} Gb/s",
        )
        for wire in rows(facts, "network", "interfaces")
        if wire.get("up") and (wire.get("speed_mb_s") or 0) > 0
    ]
    gigabits, words = max(ports or wires, default=(0.0, ""))
    if backend == "nccl":
        return (
            (FRACTION * gigabits / 8, words) if gigabits else (LEAST_GB_S, "10 Gb/s Ethernet gives as much")
        )
    least = min(GLOO_MOST_GB_S, GLOO_FRACTION * gigabits / 8) if gigabits else 0.0
    return least, words


def _gigabits(rate: str) -> float:
    """400.0 of `400 Gb/sec (4X NDR)`, as sysfs says it."""
    match = re.match(r"[\d.]+", rate)
    return float(match[0]) if match else 0.0
