import itertools

import numpy as np

from stair.data.keyframes import NEAR, REACH, SLOW, keyframe_rows


def by_hand(actions, starts):
    """The rule, one step at a time."""
    rows = []
    for first, last in itertools.pairwise(starts.tolist()):
        speed = [float(np.linalg.norm(a[:3])) for a in actions[first:last]]
        is_open = [a[6] > 0.5 for a in actions[first:last]]
        count, found = last - first, set()
        for t in range(1, count):
            if is_open[t] != is_open[t - 1]:
                found |= set(range(max(0, t - NEAR), min(count, t + NEAR + 1)))
        for t in range(count):
            before, after = speed[max(0, t - REACH) : t], speed[t + 1 : t + REACH + 1]
            least = all(speed[t] < s for s in before) and all(speed[t] <= s for s in after)
            if least and speed[t] < SLOW * sum(speed) / count:
                found.add(t)
        rows += [first + t for t in sorted(found or range(count))]
    return rows


def test_keyframes_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    lengths = np.append(rng.integers(1, 60, 40), 1)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    actions = rng.normal(size=(starts[-1], 7)).astype(np.float32)
    actions[rng.random(len(actions)) < 0.2, :3] = 0  # standing still, several steps in a row too
    actions[:, 6] = np.cumsum(rng.random(len(actions)) < 0.05) % 2
    rows = keyframe_rows(actions, starts)
    assert rows.tolist() == by_hand(actions, starts)
    assert 0.1 < len(rows) / len(actions) < 0.8


def test_an_episode_without_events_is_kept_whole():
    actions = np.ones((12, 7), np.float32)
    assert keyframe_rows(actions, np.array([0, 5, 12])).tolist() == list(range(12))


def test_a_gripper_change_reaches_no_other_episode():
    actions = np.ones((30, 7), np.float32)
    actions[10:, 6] = 0  # changes between the episodes, and once within the second
    actions[12:, 6] = 1
    rows = keyframe_rows(actions, np.array([0, 10, 30]))
    assert rows.tolist() == [*range(10), *range(10, 12 + NEAR + 1)]
