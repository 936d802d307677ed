"""Mixtures of data sets by name.

Takes a name, hands on data sets with weights. What a weight means is `data.balance`: with OpenVLA's 1 and 1
read every step of both once in an epoch, with StarVLA's they are half and half. The names, and the weights of
the Open X-Embodiment mixtures, are OpenVLA's (prismatic/vla/datasets/rlds/oxe/mixtures.py).
"""

from __future__ import annotations

from collections.abc import Collection

from stair.errors import UsageError, unknown

Mixture = tuple[tuple[str, float], ...]

CONVERTED = "_converted_externally_to_rlds"

SOUP: Mixture = (
    ("fractal20220817_data", 0.54087122203),
    ("kuka", 0.8341046294),
    ("bridge_orig", 1.0),
    ("taco_play", 2.0),
    ("jaco_play", 1.0),
    ("berkeley_cable_routing", 1.0),
    ("roboturk", 2.0),
    ("viola", 2.0),
    ("berkeley_autolab_ur5", 2.0),
    ("toto", 1.0),
    ("language_table", 0.1),
    (f"stanford_hydra_dataset{CONVERTED}", 2.0),
    (f"austin_buds_dataset{CONVERTED}", 1.0),
    (f"nyu_franka_play_dataset{CONVERTED}", 3.0),
    (f"furniture_bench_dataset{CONVERTED}", 0.1),
    (f"ucsd_kitchen_dataset{CONVERTED}", 2.0),
    (f"austin_sailor_dataset{CONVERTED}", 1.0),
    (f"austin_sirius_dataset{CONVERTED}", 1.0),
    (f"dlr_edan_shared_control{CONVERTED}", 1.0),
    (f"iamlab_cmu_pickup_insert{CONVERTED}", 1.0),
    ("utaustin_mutex", 1.0),
    ("berkeley_fanuc_manipulation", 2.0),
    ("cmu_stretch", 1.0),
)
SOUP_PLUS: Mixture = (*SOUP, ("bc_z", 0.2), ("fmb_dataset", 1.0), ("dobbe", 0.2), ("droid", 0.06))
SOUP_PLUS_MINUS: Mixture = tuple(
    (name, 1.0 if name == "fractal20220817_data" else weight)
    for name, weight in SOUP_PLUS
    if name not in ("language_table", "droid")
)

MIXTURES: dict[str, Mixture] = {
    "tabletop": (("tabletop", 1.0),),
    "bridge_orig": (("bridge_orig", 1.0),),
    "fractal20220817_data": (("fractal20220817_data", 1.0),),
    "bridge_rt_1": (("bridge_orig", 1.0), ("fractal20220817_data", 1.0)),
    "oxe_magic_soup": SOUP,
    "oxe_magic_soup_plus": SOUP_PLUS,
    "oxe_magic_soup_plus_minus": SOUP_PLUS_MINUS,
}


def mixture_of(name: str) -> Mixture:
    """The data sets of a mixture and their weights. Raises UsageError for an unknown name."""
    if name not in MIXTURES:
        raise unknown("mixture", name, MIXTURES)
    return MIXTURES[name]


def refuse_unreadable(name: str, mixture: Mixture, readable: Collection[str]) -> None:
    """Raises UsageError naming the data sets of a mixture that are not among the readable ones."""
    strange = [dataset for dataset, _ in mixture if dataset not in readable]
    if strange:
        raise UsageError(
            f"{name} has {len(strange)} data sets that STAIR cannot standardise: {', '.join(strange)}",
            hint="give each a row in STANDARDS of stair/data/standardize.py, or train on bridge_rt_1",
        )
