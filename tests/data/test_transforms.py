import io

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image

from stair.data.config import AugmentConfig, ImageConfig
from stair.data.statistics import Moments, compute_moments
from stair.data.transforms import (
    MIRRORED_ACTION,
    PLAIN,
    Look,
    change_tones,
    decode_image,
    draw_looks,
    mirror_rows,
    normalize,
    prepare_image,
    resize,
    unnormalize,
)
from stair.errors import StairError

MASK = (True,) * 6 + (False,)


@pytest.fixture
def actions():
    values = np.random.default_rng(0).normal(size=(500, 7)).astype(np.float32) * 0.03
    values[:, 3] = 0.25  # never moves
    values[:, 4] = np.random.default_rng(1).normal(size=500) * 1e-9  # nothing but noise
    values[:, 6] = np.arange(500) % 2
    return values


@pytest.fixture
def moments(actions):
    return compute_moments(actions, MASK)


def picture(height, width, seed=0):
    small = np.random.default_rng(seed).integers(0, 255, (height // 4 + 1, width // 4 + 1, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def test_normalising_is_the_published_formula(actions, moments):
    normalised = normalize(actions, moments)
    for d in (0, 1, 2, 5):
        low, high = moments.q01[d], moments.q99[d]
        expected = [max(-1, min(1, 2 * (float(a) - low) / (high - low + 1e-8) - 1)) for a in actions[:, d]]
        np.testing.assert_allclose(normalised[:, d], expected, atol=2e-6)
    assert normalised.dtype == np.float32
    np.testing.assert_array_equal(normalised[:, 6], actions[:, 6])


def test_dimensions_that_never_move_become_zero(actions, moments):
    assert (normalize(actions, moments)[:, 3:5] == 0).all()


def test_unnormalising_is_the_way_back_between_the_quantiles(actions, moments):
    low, high = np.array(moments.q01), np.array(moments.q99)
    inside = (actions[:, :3] >= low[:3]) & (actions[:, :3] <= high[:3])
    back = unnormalize(normalize(actions, moments), moments)
    np.testing.assert_allclose(back[:, :3][inside], actions[:, :3][inside], atol=1e-6)
    np.testing.assert_allclose(back[:, 3], 0.25, atol=1e-6)
    np.testing.assert_array_equal(back[:, 6], actions[:, 6])


def test_a_zero_action_is_not_zero_when_the_quantiles_are_lopsided():
    moments = Moments((0.0,), (1.0,), (3.0,), (-1.0,), (-1.0,), (3.0,), (True,))
    assert normalize(np.zeros((1, 1)), moments)[0, 0] == pytest.approx(-0.5)


def test_positions_take_the_first_three_dimensions_only(actions, moments):
    np.testing.assert_array_equal(
        normalize(actions[:, :3], moments, slice(0, 3)), normalize(actions, moments)[:, :3]
    )


def test_jpeg_and_png_are_told_by_their_first_bytes():
    image = picture(40, 56)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    np.testing.assert_array_equal(decode_image(buffer.getvalue()), image)
    jpeg = simplejpeg.encode_jpeg(image, 95)
    np.testing.assert_array_equal(decode_image(jpeg), simplejpeg.decode_jpeg(jpeg, fastdct=True))


def test_a_jpeg_of_the_right_size_is_decoded_in_place():
    image = picture(40, 56)
    jpeg = simplejpeg.encode_jpeg(image, 95)
    target, other = np.zeros((40, 56, 3), np.uint8), np.zeros((56, 40, 3), np.uint8)
    assert decode_image(jpeg, target) is target
    np.testing.assert_array_equal(target, decode_image(jpeg))
    np.testing.assert_array_equal(decode_image(jpeg, other), target)
    assert not other.any()


@pytest.mark.parametrize("broken", [b"", b"GIF89a", b"\xff\xd8\xff\xe0nothing", b"\x89PNG\r\n\x1a\nnothing"])
def test_what_is_no_image_is_refused(broken):
    with pytest.raises(StairError):
        decode_image(broken)


def test_an_image_of_the_right_size_is_not_touched():
    image = picture(48, 48)
    assert resize(image, ImageConfig(48)) is image


@pytest.mark.parametrize("shape", [(256, 256), (256, 320), (30, 50), (224, 225)])
def test_bicubic_is_pillows_to_two_levels(shape):
    image = picture(*shape)
    ours = resize(image, ImageConfig(224, "bicubic")).astype(int)
    theirs = np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(ours - theirs).max() <= 2


def test_prepare_image_gives_planes_and_refuses_floats():
    image = picture(60, 80)
    prepared = prepare_image(image, ImageConfig(48))
    assert prepared.shape == (3, 48, 48)
    np.testing.assert_array_equal(prepared.transpose(1, 2, 0), resize(image, ImageConfig(48)))
    with pytest.raises(StairError, match="float32"):
        prepare_image(image.astype(np.float32), ImageConfig(48))


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(("down", "right"), [(0, 0), (3, 0), (-2, 5), (0, -1), (7, -7)])
def test_a_shift_repeats_the_edges_and_a_mirror_comes_after_it(down, right, mirror):
    frames = np.random.default_rng(0).integers(0, 255, (2, 3, 16, 16), np.uint8)
    look = Look(right=right / 16, down=down / 16, mirror=mirror, brightness=0, contrast=1)
    placed = look.place(frames)
    for y in range(16):
        for x in range(16):
            from_x = min(max((15 - x if mirror else x) + right, 0), 15)
            from_y = min(max(y + down, 0), 15)
            np.testing.assert_array_equal(placed[..., y, x], frames[..., from_y, from_x])


def test_tones_are_scaled_around_the_mean_and_lifted():
    images = torch.full((2, 3, 4, 4), 100, dtype=torch.uint8)
    images[:, :, 0] = 60
    means = torch.tensor([90.0, 90.0])
    changed = change_tones(images, means, torch.tensor([0.0, 0.5]), torch.tensor([2.0, 1.0]))
    assert changed[0, 0, 0, 0] == 30  # 90 + 2 (60 - 90)
    assert changed[0, 0, 1, 0] == 110
    assert changed[1, 0, 1, 0] == 228  # 100 + 127.5, to even
    assert change_tones(images, means, torch.ones(2), torch.ones(2)).max() == 255


def test_no_augmentation_draws_nothing():
    assert draw_looks(AugmentConfig(), 0, np.arange(3)) == [PLAIN] * 3
    assert not PLAIN.moves
    assert not PLAIN.recolours


def test_looks_stay_within_their_bounds_and_belong_to_the_position():
    config = AugmentConfig(shift=0.1, mirror=True, brightness=0.2, contrast=0.3)
    looks = draw_looks(config, 5, np.arange(2000))
    assert max(abs(look.right) for look in looks) <= 0.1
    assert 0.45 < np.mean([look.mirror for look in looks]) < 0.55
    assert max(abs(look.brightness) for look in looks) > 0.19
    assert 0.7 <= min(look.contrast for look in looks) < 0.71
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
