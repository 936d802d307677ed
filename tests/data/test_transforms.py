import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from stair.data.config import ImageConfig
from stair.data.statistics import Moments, compute_moments
from stair.data.transforms import (
    decode_image,
    middle,
    normalize,
    prepare_image,
    resize,
    take_window,
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


@pytest.mark.parametrize("shape", [(256, 256), (256, 320), (30, 50), (224, 225)])
@pytest.mark.parametrize(("name", "theirs"), [("bicubic", "BICUBIC"), ("lanczos", "LANCZOS")])
def test_resizing_is_pillows_on_average_to_a_third_of_a_level(shape, name, theirs):
    image = picture(*shape).astype(np.uint8) // 2 + 64  # nothing overshoots between Pillow's two passes
    ours = resize(image, ImageConfig(224, name)).astype(int)
    exact = np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling[theirs])).astype(int)
    assert np.abs(ours - exact).max() <= 1
    assert np.abs(ours - exact).mean() < 0.34


def loop_window(plane, top, left, side):
    """tf.image.crop_and_resize by the letter: corners of the window on corners of the picture."""
    height, width = plane.shape
    result = np.empty((height, width))
    for i in range(height):
        for j in range(width):
            y = top * (height - 1) + i * side * (height - 1) / (height - 1)
            x = left * (width - 1) + j * side * (width - 1) / (width - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
            above = plane[y0, x0] + (plane[y0, x1] - plane[y0, x0]) * (x - x0)
            below = plane[y1, x0] + (plane[y1, x1] - plane[y1, x0]) * (x - x0)
            result[i, j] = above + (below - above) * (y - y0)
    return result


@pytest.mark.parametrize("window", [(0.0, 0.0, 0.9), (0.05, 0.02, 0.9), (0.1, 0.1, 0.9), middle(0.5)])
def test_a_window_is_stretched_as_tensorflow_does(window):
    planes = np.random.default_rng(0).integers(0, 255, (2, 3, 20, 24), np.uint8)
    taken = take_window(planes, *window)
    for n in range(2):
        for c in range(3):
            expected = loop_window(planes[n, c] / 255, *window)
            np.testing.assert_allclose(taken[n, c], expected, atol=1e-6)


def test_a_model_that_was_trained_with_crops_is_served_the_middle():
    image = picture(60, 80)
    whole = prepare_image(image, ImageConfig(48))
    cropped = prepare_image(image, ImageConfig(48, crop=0.9))
    side = 0.9**0.5
    expected = [loop_window(plane / 255, (1 - side) / 2, (1 - side) / 2, side) for plane in whole]
    np.testing.assert_allclose(cropped, np.floor(np.array(expected) * 255.5), atol=1)
    assert cropped.dtype == np.uint8
    assert (cropped != whole).any()
