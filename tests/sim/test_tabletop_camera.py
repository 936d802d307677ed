"""The picture shows what changes, where it should, and is symmetric."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stair.sim.tabletop_camera import VIEW_M, Camera, Pose
from stair.sim.tabletop_layout import COLOURS, WORKSPACE_HIGH, WORKSPACE_LOW, Layout, draw_start

FAR = np.array([0.13, 0.13, 0.15])


def layout_with(colours: tuple[str, str] = ("red", "blue")) -> Layout:
    return replace(draw_start(0).layout, colours=colours)


def pose_of(layout: Layout, gripper: np.ndarray = FAR, opening: float = 1.0) -> Pose:
    return Pose(np.array(gripper), opening, np.concatenate([layout.blocks, np.zeros((2, 1))], axis=1))


def shoot(layout: Layout, pose: Pose, size: int = 96) -> np.ndarray:
    camera = Camera(size)
    camera.prepare(layout)
    return camera.shoot(pose)


def dark(image: np.ndarray) -> np.ndarray:
    """Where the fingers are: rows and columns of almost black pixels, [N, 2]."""
    return np.argwhere(image.astype(int).sum(axis=-1) < 160)


@pytest.mark.parametrize("size", [32, 48, 128])
def test_the_whole_workspace_is_seen_with_a_margin(size: int):
    camera = Camera(size)
    for x in (WORKSPACE_LOW[0], WORKSPACE_HIGH[0]):
        for y in (WORKSPACE_LOW[1], WORKSPACE_HIGH[1]):
            for z in (WORKSPACE_LOW[2], WORKSPACE_HIGH[2]):
                row, column = camera.pixel(np.array([x, y, z]))
                assert 0.01 * size < row < 0.98 * size
                assert 0.08 * size < column < 0.92 * size


@pytest.mark.parametrize("colour", COLOURS)
def test_a_blocks_colour_is_where_the_block_is(colour: str):
    layout = layout_with((colour, "red" if colour != "red" else "green"))
    image = shoot(layout, pose_of(layout))
    camera = Camera(96)
    row, column = camera.pixel(np.append(layout.blocks[0], 0.04))
    red, green, blue = image[int(row), int(column)].astype(int)
    strongest = {"red": red, "green": green, "blue": blue}
    if colour == "yellow":
        assert min(red, green) > blue + 80
    else:
        assert strongest.pop(colour) > max(strongest.values()) + 40


def test_swapping_the_blocks_colours_changes_only_the_blocks():
    one, other = layout_with(("red", "blue")), layout_with(("blue", "red"))
    changed = (shoot(one, pose_of(one)) != shoot(other, pose_of(other))).any(axis=-1)
    assert 0.005 < changed.mean() < 0.08


def test_targets_lie_where_they_are_and_look_different():
    layout = layout_with()
    image = shoot(layout, pose_of(layout)).astype(int)
    camera = Camera(96)
    (plate_row, plate_column), (towel_row, towel_column) = (
        camera.pixel(np.append(target, 0.0)) for target in layout.targets
    )
    assert image[int(plate_row), int(plate_column)].min() > 230
    red, green, blue = image[int(towel_row), int(towel_column)]
    assert min(red, blue) > green + 30


def test_a_rising_gripper_leaves_its_shadow_behind():
    layout = replace(layout_with(), blocks=np.array([[-0.1, -0.1], [-0.1, 0.1]]))
    layout = replace(layout, targets=np.array([[0.0, 0.09], [0.0, -0.09]]))
    low, high = (shoot(layout, pose_of(layout, np.array([0.0, 0.0, z]))) for z in (0.03, 0.13))
    moved = dark(low).mean(axis=0) - dark(high).mean(axis=0)
    expected = 0.10 * np.cos(np.deg2rad(50)) * 96 / VIEW_M
    assert moved == pytest.approx([expected, 0.0], abs=0.3)
    row, column = Camera(96).pixel(np.zeros(3))
    table = shoot(layout, pose_of(layout))[int(row), int(column)].astype(int)
    assert (table - high[int(row), int(column)] > 40).all()  # the shadow stays on the ground below


def test_a_shadow_falls_on_the_block_below_the_gripper():
    layout = layout_with()
    x, y = layout.blocks[0]
    row, column = Camera(96).pixel(np.array([x, y, 0.04]))
    free = shoot(layout, pose_of(layout))[int(row), int(column)].astype(int).sum()
    below = shoot(layout, pose_of(layout, np.array([x, y, 0.14])))[int(row), int(column)].astype(int).sum()
    assert below < 0.7 * free


def test_fingers_are_apart_when_open_and_together_when_closed():
    layout = layout_with()
    spreads = []
    for opening in (1.0, 0.57, 0.0):
        fingers = dark(shoot(layout, pose_of(layout, np.array([0.1, 0.0, 0.12]), opening)))
        spreads.append(np.ptp(fingers[:, 1]) * VIEW_M / 96)
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[0] > 0.07
    assert 0.035 < spreads[1] < 0.075 < spreads[0]
    assert spreads[2] < 0.03


def test_the_nearer_block_hides_the_farther_one():
    layout = replace(layout_with(("red", "blue")), blocks=np.array([[0.0, 0.0], [-0.03, 0.0]]))
    image = shoot(layout, pose_of(layout))
    row, column = Camera(96).pixel(np.array([-0.03, 0.0, 0.04]))
    red, _, blue = image[int(row), int(column)].astype(int)
    assert blue > red


def test_mirroring_the_scene_mirrors_the_picture():
    for episode_id in range(5):
        layout = draw_start(episode_id).layout
        flip = np.array([1, -1])
        mirrored = replace(layout, blocks=layout.blocks * flip, targets=layout.targets * flip)
        gripper = layout.gripper - [0.05, 0, 0.06]
        image = shoot(layout, pose_of(layout, gripper), 48)
        other = shoot(mirrored, pose_of(mirrored, gripper * [1, -1, 1]), 48)
        assert np.abs(image[:, ::-1].astype(int) - other).max() <= 1


def test_half_a_pixel_of_motion_is_visible_at_the_smallest_size():
    layout = layout_with()
    one, other = (shoot(layout, pose_of(layout, np.array([0.0, y, 0.1])), 32) for y in (0.0, 0.5 * 0.40 / 32))
    assert np.abs(one.astype(int) - other).max() > 30


def test_pictures_do_not_share_memory():
    layout = layout_with()
    camera = Camera(32)
    camera.prepare(layout)
    first = camera.shoot(pose_of(layout))
    kept = first.copy()
    camera.shoot(pose_of(layout, np.zeros(3)))
    assert np.array_equal(first, kept)
