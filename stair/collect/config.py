"""What a collection of demonstrations can be told; standard library only."""

from __future__ import annotations

from stair.errors import UsageError
from stair.frozen import frozen

LAYOUTS = 100_000
"""Demonstrations use layouts below this number, evaluations those from it on."""


@frozen
class CollectConfig:
    """Demonstrations of the tabletop, written as an RLDS data set ROOT/tabletop/1.0.0."""

    root: str = "data"
    """Folder that holds DATASET/VERSION folders."""
    episodes: int = 1000
    image_size: int = 48
    noise: float = 0.01
    """Standard deviation (m) of what is added to the executed translation; the recorded action is the
    clean one, so that a learner sees how to come back (DART, Laskey et al. 2017)."""
    wander: float = 0.0
    """Share of the demonstrations that are first drawn towards the wrong block, 0 to 1; the recorded
    actions are still the right ones. Without it the nearest block is almost always the right one, and a
    learner hardly needs to listen."""
    wander_steps: int = 8
    """Steps that this goes on for at most."""
    instructions_per_layout: int = 1
    """How many goals are demonstrated from each layout, 1 to 4. With several, the picture alone does not
    tell a learner what will be asked for."""
    stay: int = 4
    """Steps recorded after success, in which the gripper retreats and rests."""
    grasp_tolerance: float = 0.02
    """Metres; tighter than in an evaluation, so that demonstrations contain second attempts."""
    shards: int = 0
    """Files of the data set; 0: one for every 250 episodes."""
    jpeg_quality: int = 95
    seed: int = 0
    """Decides which layouts are used and all noise."""
    workers: int = 2
    """Processes that demonstrate; the bytes written do not depend on it."""


def check(config: CollectConfig) -> None:
    """Raises UsageError for the first value that cannot be meant."""
    bounds = {
        "episodes": (1, LAYOUTS),
        "image_size": (16, 1024),
        "noise": (0.0, 0.015),
        "wander": (0.0, 1.0),
        "wander_steps": (1, 20),
        "instructions_per_layout": (1, 4),
        "stay": (0, 20),
        "grasp_tolerance": (0.015, 0.045),
        "shards": (0, config.episodes),
        "jpeg_quality": (1, 100),
        "seed": (0, 2**31 - 1),
        "workers": (0, 256),
    }
    for name, (low, high) in bounds.items():
        value = getattr(config, name)
        if not low <= value <= high:
            raise UsageError(f"{name} {value} is out of range", hint=f"--{name} between {low} and {high}")


def layout_of(config: CollectConfig, index: int) -> int:
    """Which layout the index-th demonstration starts from; seeds 0, 1, ... begin far apart."""
    return (config.seed * 9973 + index // config.instructions_per_layout) % LAYOUTS
