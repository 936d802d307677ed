"""An episode number becomes a start: where things lie, what is asked for, in which words.

Takes an episode id, hands on a Layout (positions), a Goal (which block, which target) and an instruction.
The surprise: both blocks and both targets are always there and every pairing may be asked for, so the
picture alone never tells what to do. Metres; x points away from the robot, y to its left, z up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WORKSPACE_LOW = np.array([-0.14, -0.14, 0.0])
WORKSPACE_HIGH = np.array([0.14, 0.14, 0.16])
BLOCK_HALF = 0.024
TARGET_HALF = 0.050
"""Radius of the plate, half the side of the towel."""

COLOURS = ("red", "green", "blue", "yellow")
TARGETS = ("plate", "towel")
TEMPLATES = (
    "put the {colour} block on the {target}",
    "move the {colour} block to the {target}",
    "place the {colour} block onto the {target}",
    "pick up the {colour} block and put it on the {target}",
)

_SEED = 20731  # any constant; changing it changes every layout and thereby every recorded result
_TRIES = 512
_BLOCK_REACH, _TARGET_REACH = 0.112, 0.088  # largest |x|, |y| of a centre: targets stay in the workspace
# Smallest distances between centres: a towel's corner reaches 71 mm, a block's 34 mm, and two blocks
# must leave room for an open gripper (70 mm) around either.
_BLOCK_BLOCK, _BLOCK_TARGET, _TARGET_TARGET = 0.096, 0.105, 0.125


@dataclass(frozen=True, eq=False)
class Layout:
    """Where everything starts."""

    colours: tuple[str, str]
    """Of the two blocks, always different."""
    blocks: np.ndarray
    """float64 [2, 2]: x, y of the blocks' centres."""
    targets: np.ndarray
    """float64 [2, 2]: x, y of plate and towel, in the order of TARGETS."""
    gripper: np.ndarray
    """float64 [3]"""


@dataclass(frozen=True)
class Goal:
    """Which block belongs on which target, as indices into the layout."""

    block: int
    target: int

    def swapped(self) -> Goal:
        """The goal that shares neither block nor target with this one."""
        return Goal(1 - self.block, 1 - self.target)


GOALS = tuple(Goal(block, target) for block in range(2) for target in range(2))


@dataclass(frozen=True)
class Start:
    """All that an episode id decides."""

    layout: Layout
    goal: Goal
    template: int


def draw_start(episode_id: int) -> Start:
    """The start that belongs to an episode id: the same on every machine, any number from 0 on."""
    rng = np.random.default_rng([_SEED, episode_id])
    first, second = rng.choice(len(COLOURS), size=2, replace=False)
    goal = Goal(int(rng.integers(2)), int(rng.integers(2)))
    template = int(rng.integers(len(TEMPLATES)))
    gripper = np.append(rng.uniform(-0.12, 0.12, size=2), rng.uniform(0.10, 0.14))
    blocks, targets = _draw_places(rng)
    layout = Layout((COLOURS[first], COLOURS[second]), blocks, targets, gripper)
    return Start(layout, goal, template)


def phrase(layout: Layout, goal: Goal, template: int) -> str:
    """The instruction that asks for `goal`."""
    words = TEMPLATES[template % len(TEMPLATES)]
    return words.format(colour=layout.colours[goal.block], target=TARGETS[goal.target])


def inside_target(place: np.ndarray, layout: Layout, target: int) -> bool:
    """Whether a point (x, y) lies on a target: the plate is a disc, the towel a square."""
    dx, dy = np.abs(place[:2] - layout.targets[target])
    if TARGETS[target] == "plate":
        return bool(np.hypot(dx, dy) <= TARGET_HALF)
    return bool(max(dx, dy) <= TARGET_HALF)


def _draw_places(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Blocks [2, 2] and targets [2, 2], far enough from each other: the first of many tries that fits."""
    blocks = rng.uniform(-_BLOCK_REACH, _BLOCK_REACH, size=(_TRIES, 2, 2))
    targets = rng.uniform(-_TARGET_REACH, _TARGET_REACH, size=(_TRIES, 2, 2))
    between = np.linalg.norm(blocks[:, :, None] - targets[:, None], axis=-1)  # [tries, block, target]
    fits = (
        (np.linalg.norm(blocks[:, 0] - blocks[:, 1], axis=-1) >= _BLOCK_BLOCK)
        & (np.linalg.norm(targets[:, 0] - targets[:, 1], axis=-1) >= _TARGET_TARGET)
        & (between.min(axis=(1, 2)) >= _BLOCK_TARGET)
    )
    if not fits.any():  # about never; a corner each is always possible
        return np.array([[-0.08, -0.08], [0.08, 0.08]]), np.array([[-0.08, 0.08], [0.08, -0.08]])
    best = int(fits.argmax())
    return blocks[best], targets[best]
