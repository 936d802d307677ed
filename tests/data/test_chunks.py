import itertools

import numpy as np
import pytest

from stair import settings
from stair.data.chunks import clip_rows, gripper_events, take_chunks, waypoint_rows
from stair.data.config import ClipConfig, InputConfig, clip_offsets
from stair.errors import UsageError

RELATIVE = (True,) * 6 + (False,)


@pytest.fixture(params=range(5))
def episodes(request):
    """Actions [M, 7] of several episodes and their starts; some never move the gripper."""
    rng = np.random.default_rng(request.param)
    lengths = rng.integers(1, 40, 8)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    actions = rng.normal(size=(starts[-1], 7)).astype(np.float32)
    for first, last in itertools.pairwise(starts):
        flips = rng.random(last - first) < rng.choice([0.0, 0.15, 0.5])
        actions[first:last, 6] = np.cumsum(flips) % 2
    return actions, starts


def bounds(starts):
    """Each row's step, first and last row of its episode."""
    steps = np.arange(starts[-1])
    episode = np.searchsorted(starts, steps, side="right") - 1
    return steps, starts[episode], starts[episode + 1] - 1


def test_chunks_and_masks_are_those_of_a_loop(episodes):
    actions, starts = episodes
    steps, _, lasts = bounds(starts)
    taken, mask = take_chunks(actions, steps, lasts, 16, RELATIVE)
    for t in steps:
        for k in range(16):
            if t + k <= lasts[t]:
                expected, real = actions[t + k], True
            else:
                expected, real = np.append(np.zeros(6), actions[lasts[t]][6]), False
            np.testing.assert_array_equal(taken[t, k], expected)
            assert mask[t, k] == real


def test_chunks_are_copies(episodes):
    actions, starts = episodes
    before = actions.copy()
    steps, _, lasts = bounds(starts)
    take_chunks(actions, steps, lasts, 16, RELATIVE)
    np.testing.assert_array_equal(actions, before)


@pytest.mark.parametrize(
    ("config", "offsets"),
    [(ClipConfig(), (-8, -4, 0, 4, 8)), (ClipConfig(preset="future"), (0, 4, 8, 12, 16))],
)
def test_clips_stay_within_their_episode(episodes, config, offsets):
    _, starts = episodes
    steps, firsts, lasts = bounds(starts)
    rows = clip_rows(steps, firsts, lasts, clip_offsets(config))
    for t in steps:
        assert rows[t].tolist() == [min(max(t + o, firsts[t]), lasts[t]) for o in offsets]


def test_a_data_sets_stride_replaces_the_common_one():
    clip = ClipConfig(strides={"fractal20220817_data": 2})
    assert clip_offsets(clip, "fractal20220817_data") == (-4, -2, 0, 2, 4)
    assert clip_offsets(clip, "bridge_orig") == clip_offsets(clip) == (-8, -4, 0, 4, 8)
    ahead = ClipConfig(preset="future", strides={"fractal20220817_data": 3})
    assert clip_offsets(ahead, "fractal20220817_data") == (0, 3, 6, 9, 12)
    with pytest.raises(UsageError, match="are both given"):
        clip_offsets(ClipConfig(frames=1, offsets=(0,), strides={"x": 1}))


def test_strides_are_settings_like_others():
    tree = settings.override({}, [("clip.strides.fractal20220817_data", 2)])
    inputs = settings.build(InputConfig, tree)
    assert inputs.clip.strides == {"fractal20220817_data": 2}
    assert settings.build(InputConfig, settings.dump(inputs)) == inputs


def test_waypoints_are_those_of_a_loop(episodes):
    actions, starts = episodes
    steps, firsts, lasts = bounds(starts)
    rows = waypoint_rows(gripper_events(actions[:, 6], starts), steps, lasts)
    for t in steps:
        for kind, wanted_open in enumerate((False, True)):
            events = [
                e
                for e in range(t, lasts[t] + 1)
                if e > firsts[t]
                and (actions[e, 6] > 0.5) != (actions[e - 1, 6] > 0.5)
                and (actions[e, 6] > 0.5) == wanted_open
            ]
            assert rows[t, kind] == [*events, -1][0]


def test_a_data_set_whose_gripper_never_moves_has_no_waypoints():
    starts = np.array([0, 3, 5])
    steps, _, lasts = bounds(starts)
    rows = waypoint_rows(gripper_events(np.ones(5), starts), steps, lasts)
    assert rows.tolist() == [[-1, -1]] * 5
