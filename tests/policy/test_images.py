"""Pictures in every form that clients send become one form, or are refused by name."""

import numpy as np
import pytest

from stair.errors import StairError
from stair.policy.images import as_rgb

RGB = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3) * 4


@pytest.mark.parametrize(
    "sent",
    [
        RGB,
        RGB.transpose(2, 0, 1),
        RGB[None],
        RGB.transpose(2, 0, 1)[None],
        RGB.astype(np.float32) / 255,
        (RGB / 255).transpose(2, 0, 1),
    ],
    ids=["hwc", "chw", "1hwc", "1chw", "float", "float64-chw"],
)
def test_the_known_forms_are_the_same_picture(sent):
    image = as_rgb(sent)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert np.array_equal(image, RGB)


def test_three_pixels_wide_is_no_channel_axis():
    narrow = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    assert np.array_equal(as_rgb(narrow), narrow)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (None, "cam: an array is needed, not NoneType"),
        (RGB[..., :1], r"cam: uint8 \[4, 5, 1\]"),
        (RGB.astype(np.float32), "cam: floats outside 0 to 1"),
        (np.full((4, 4, 3), np.nan), "cam: floats outside"),
        (RGB.astype(np.int64), "cam: int64"),
        (RGB[:0], "cam: uint8"),
        (np.stack([RGB, RGB]), "cam: uint8"),
    ],
)
def test_what_is_no_picture_is_refused_by_the_fields_name(sent, words):
    with pytest.raises(StairError, match=words):
        as_rgb(sent, "cam")
