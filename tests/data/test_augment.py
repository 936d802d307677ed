import colorsys

import numpy as np
import pytest

from stair.data.augment import MIRRORED_ACTION, Look, draw_looks, mirror_rows, turn_colours
from stair.data.config import AugmentConfig
from stair.data.transforms import take_window

OPENVLA = AugmentConfig(crop=0.9, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(("down", "right"), [(0, 0), (3, 0), (-2, 5), (0, -1), (7, -7)])
def test_a_shift_repeats_the_edges_and_a_mirror_comes_after_it(down, right, mirror):
    frames = np.random.default_rng(0).integers(0, 255, (2, 3, 16, 16), np.uint8)
    look = Look(right=right / 16, down=down / 16, mirror=mirror)
    placed = look.place(frames)
    for y in range(16):
        for x in range(16):
            from_x = min(max((15 - x if mirror else x) + right, 0), 15)
            from_y = min(max(y + down, 0), 15)
            np.testing.assert_array_equal(placed[..., y, x], frames[..., from_y, from_x])


def by_the_letter(planes, look):
    """Brightness, contrast, saturation, hue of one picture [3, H, W] in 0..1, pixel by pixel."""
    planes = np.clip(planes + look.brightness, 0, 1)
    for c in range(3):
        mean = planes[c].mean()
        planes[c] = np.clip((planes[c] - mean) * look.contrast + mean, 0, 1)
    for y in range(planes.shape[1]):
        for x in range(planes.shape[2]):
            h, s, v = colorsys.rgb_to_hsv(*planes[:, y, x])
            planes[:, y, x] = colorsys.hsv_to_rgb((h + look.hue) % 1, min(1, s * look.saturation), v)
    return planes


@pytest.mark.parametrize("row", range(6))
def test_tones_change_in_openvlas_order_and_are_rounded_once(row):
    frames = np.random.default_rng(row).integers(0, 256, (2, 3, 9, 7), np.uint8)
    frames[0, :, 0] = 77  # grey has no hue
    frames[1, :, 0] = [[0]] * 3
    look = draw_looks(OPENVLA, 3, np.arange(6))[row]
    restyled = look.restyle(frames)
    for frame, result in zip(frames, restyled, strict=True):
        window = take_window(frame, look.top, look.left, look.side).astype(float)
        np.testing.assert_allclose(result, np.floor(by_the_letter(window, look) * 255.5), atol=1)
        exact = by_the_letter(window, look) * 255.5
        far = np.abs(exact - np.rint(exact)) > 1e-2  # where rounding cannot go either way
        np.testing.assert_array_equal(result[far], np.floor(exact)[far])


def test_colours_that_are_not_turned_stay():
    values = np.random.default_rng(0).random((3, 16, 16)).astype(np.float32)
    np.testing.assert_allclose(turn_colours(values, 1.0, 0.0), values, atol=1e-6)
    np.testing.assert_allclose(turn_colours(values, 1.0, 1.0), values, atol=1e-6)  # once round the circle
    grey = turn_colours(values, 0.0, 0.3)
    np.testing.assert_allclose(grey, np.broadcast_to(values.max(0), (3, 16, 16)), atol=1e-6)


def test_no_augmentation_draws_nothing():
    assert draw_looks(AugmentConfig(), 0, np.arange(3)) == [Look()] * 3
    assert not any((Look().moves, Look().crops, Look().recolours))


def test_where_nothing_is_drawn_the_middle_is_seen():
    (look,) = draw_looks(AugmentConfig(), 0, np.arange(1), 0.81)
    assert (look.top, look.left, look.side) == pytest.approx((0.05, 0.05, 0.9))
    mirrored = draw_looks(AugmentConfig(mirror=True), 0, np.arange(9), 0.81)
    assert {look.side for look in mirrored} == {look.side}
    assert {look.top for look in mirrored} == {look.top}


def test_looks_stay_within_their_bounds_and_belong_to_the_position():
    config = AugmentConfig(
        shift=0.1, mirror=True, crop=0.9, brightness=0.2, contrast=0.3, saturation=0.2, hue=0.05
    )
    looks = draw_looks(config, 5, np.arange(2000))
    assert max(abs(look.right) for look in looks) <= 0.1
    assert 0.45 < np.mean([look.mirror for look in looks]) < 0.55
    assert 0.19 < max(abs(look.brightness) for look in looks) <= 0.2
    assert 0.7 <= min(look.contrast for look in looks) < 0.71
    assert 0.8 <= min(look.saturation for look in looks) < 0.81
    assert 0.049 < max(look.hue for look in looks) <= 0.05
    room = 1 - 0.9**0.5
    for name in ("top", "left"):
        begins = [getattr(look, name) for look in looks]
        assert 0 <= min(begins) < 0.01 * room
        assert 0.99 * room < max(begins) <= room
    assert abs(np.corrcoef([look.top for look in looks], [look.left for look in looks])[0, 1]) < 0.1
    assert draw_looks(config, 5, np.array([77])) == [looks[77]]
    assert draw_looks(config, 6, np.array([77])) != [looks[77]]


def test_mirroring_a_motion_is_reflecting_it_at_the_plane_y_0():
    """A rotation R seen in a mirror is M R M; for small angles that flips roll and yaw."""
    mirror = np.diag([1.0, -1.0, 1.0])

    def rotation(roll, pitch, yaw):
        cr, sr, cp, sp, cy, sy = (f(a) for a in (roll, pitch, yaw) for f in (np.cos, np.sin))
        about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
        about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
        about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
        return about_z @ about_y @ about_x

    action = np.array([[0.01, 0.02, -0.03, 0.3, 0.2, 0.1, 1.0]])
    turned = mirror_rows(action, MIRRORED_ACTION, np.array([True]))[0]
    np.testing.assert_allclose(turned[:3], mirror @ action[0, :3])
    np.testing.assert_allclose(rotation(*turned[3:6]), mirror @ rotation(*action[0, 3:6]) @ mirror, atol=1e-7)
    assert turned[6] == 1.0


def test_only_the_chosen_rows_are_mirrored():
    values = np.ones((2, 4, 7))
    turned = mirror_rows(values, MIRRORED_ACTION, np.array([False, True]))
    assert (turned[0] == 1).all()
    assert turned[1, 2].tolist() == [1, -1, 1, -1, 1, -1, 1]
