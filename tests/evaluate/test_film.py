"""Films can be played, and odd images do not stop them."""

from dataclasses import replace

import imageio.v2 as imageio
import numpy as np
import pytest

from stair.errors import StairError
from stair.evaluate.film import FRAMES_PER_S, draw_actions, pad_to_even, save_film
from stair.evaluate.rollout import Rollout


def rollout(height=33, width=47, steps=6, success=True):
    frames = [np.full((height, width, 3), 40 * k % 256, np.uint8) for k in range(steps + 1)]
    actions = np.random.default_rng(0).normal(size=(steps, 7)).astype(np.float32)
    return Rollout(success, success, 4 if success else None, steps, steps, "put it there", actions, frames)


def test_a_film_has_every_frame_and_even_sides(tmp_path):
    path = save_film(tmp_path, "put/ep0003", rollout())
    assert path == tmp_path / "put" / "ep0003-success.mp4"
    told = imageio.get_reader(path).get_meta_data()
    assert (told["size"], told["fps"], told["codec"]) == ((48, 34), FRAMES_PER_S, "h264")
    assert told["pix_fmt"].startswith("yuv420p")
    frames = [np.asarray(frame) for frame in imageio.mimread(path)]
    assert len(frames) == 7
    assert [round(float(frame.mean()) / 40) for frame in frames] == list(range(7))
    assert sorted(one.name for one in (tmp_path / "put").iterdir()) == [
        "ep0003-success.mp4",
        "ep0003-success.png",
    ]


def test_padding_repeats_the_edge_and_leaves_even_images_alone():
    odd = np.arange(3 * 5 * 3, dtype=np.uint8).reshape(3, 5, 3)
    padded = pad_to_even(odd)
    assert padded.shape == (4, 6, 3)
    assert np.array_equal(padded[:3, :5], odd)
    assert np.array_equal(padded[3, :5], odd[2])
    assert np.array_equal(pad_to_even(padded), padded)


@pytest.mark.parametrize("steps", [1, 2, 80])
def test_the_action_plot_is_drawn_for_any_length(steps):
    image = draw_actions(rollout(steps=steps, success=False), "put/ep0000")
    assert image.size[0] > 800
    assert len(image.getcolors(10**6) or []) > 20


def test_the_step_at_which_success_first_held_is_marked():
    def colours(first_success):
        lost = replace(rollout(success=False), first_success=first_success)
        return {colour for _, colour in draw_actions(lost).getcolors(10**6) or []}

    assert (22, 128, 84) in colours(4)
    assert (22, 128, 84) not in colours(None)


def test_a_place_that_cannot_be_written_is_an_expected_failure(tmp_path):
    (tmp_path / "put").write_text("a file where a folder belongs")
    with pytest.raises(StairError, match="cannot make folder"):
        save_film(tmp_path, "put/ep0000", rollout())
