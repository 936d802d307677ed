"""Mixtures of data sets by name.

Takes a name, hands on data sets with weights. A weight is relative to the data set's size: 1 and 1 read
every step of both once in an epoch (Open X-Embodiment's `balance_weights`).
"""

from __future__ import annotations

from stair.errors import unknown

Mixture = tuple[tuple[str, float], ...]

MIXTURES: dict[str, Mixture] = {
    "tabletop": (("tabletop", 1.0),),
    "bridge_orig": (("bridge_orig", 1.0),),
    "fractal20220817_data": (("fractal20220817_data", 1.0),),
    "bridge_rt_1": (("bridge_orig", 1.0), ("fractal20220817_data", 1.0)),
}


def mixture_of(name: str) -> Mixture:
    """The data sets of a mixture and their weights. Raises UsageError for an unknown name."""
    if name not in MIXTURES:
        raise unknown("mixture", name, MIXTURES)
    return MIXTURES[name]
