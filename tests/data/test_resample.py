import threading

import numpy as np
import pytest
from PIL import Image

from stair.data.resample import lanczos_weights, resize_lanczos

SHAPES = [(256, 256), (480, 640), (256, 320), (30, 50), (225, 224), (100, 7)]


def picture(height, width, seed=0):
    """Smooth, so that nothing overshoots what a byte can hold between PIL's two passes."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / (4 + 3 * c) + seed) * np.cos(y / (7 - c)) for c in range(3)]
    return np.rint(127 + 90 * np.stack(waves, axis=2)).astype(np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [224, 48])
def test_it_is_pillows_lanczos_to_one_level(shape, size):
    image = picture(*shape)
    theirs = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS)).astype(int)
    ours = resize_lanczos(image, size).astype(int)
    assert ours.shape == (size, size, 3)
    assert np.abs(ours - theirs).max() <= 1


@pytest.mark.parametrize("shape", SHAPES)
def test_the_bands_are_the_whole_matrices(shape):
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    down, across = lanczos_weights(shape[0], 224), lanczos_weights(shape[1], 224)
    exact = np.einsum("yh,hwc,xw->yxc", down, image.astype(np.float64), across, optimize=True)
    difference = np.abs(resize_lanczos(image, 224) - np.clip(exact, 0, 255))
    assert difference.max() <= 0.501


def test_an_even_picture_stays_even_up_to_its_borders():
    assert (resize_lanczos(np.full((256, 320, 3), 255, np.uint8), 224) == 255).all()
    assert (resize_lanczos(np.full((50, 30, 3), 77, np.uint8), 224) == 77).all()


def test_results_do_not_share_the_work_arrays():
    first = resize_lanczos(picture(256, 256, 0), 224)
    kept = first.copy()
    resize_lanczos(picture(256, 256, 5), 224)
    np.testing.assert_array_equal(first, kept)


def test_threads_do_not_disturb_each_other():
    pictures = [picture(256, 256, seed) for seed in range(4)]
    expected = [resize_lanczos(p, 224) for p in pictures]
    wrong = []

    def work(number):
        for _ in range(15):
            if not np.array_equal(resize_lanczos(pictures[number], 224), expected[number]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
