import numpy as np
import pytest

from stair.data.example import ByteSpans
from stair.data.rlds import RawEpisode, RldsFolder
from stair.data.standardize import STANDARDS, bridge, dataset_folder, plain
from stair.errors import StairError, UsageError


def written_rules(state, action):
    """Bridge by the letter of the specification, one number at a time."""
    state, action = state[1:], action[1:]  # (1) drop step 0
    gripper = [0.0] * len(action)  # (2) backwards from the end, carry = the last raw value
    carry = action[-1][6]
    for t in range(len(action) - 1, -1, -1):
        if action[t][6] > 0.95:
            carry = np.float32(1)
        elif action[t][6] < 0.05:
            carry = np.float32(0)
        gripper[t] = carry
    actions, proprio = [], []
    for t in range(len(state) - 1):  # (3) relabel, drop the last step
        actions.append([state[t + 1][d] - state[t][d] for d in range(6)] + [gripper[t]])
        proprio.append(list(state[t]))
    return np.array(actions, np.float32), np.array(proprio, np.float32)


def raw_episode(state, action, words=(b"go",)):
    values = {
        "steps/observation/state": np.asarray(state, np.float32).ravel(),
        "steps/action": np.asarray(action, np.float32).ravel(),
    }
    buffer = b"".join(words)
    ends = np.cumsum([len(w) for w in words])
    spans = np.array([(end - len(w), len(w)) for end, w in zip(ends, words, strict=True)])
    values["steps/language_instruction"] = ByteSpans(buffer, spans)
    return RawEpisode(0, 0, 0, values)


def test_every_real_bridge_episode_follows_the_written_rules(bridge):
    folder = RldsFolder.open(bridge / "bridge_orig" / "1.0.0")
    raws = list(folder.episodes("train"))
    assert len(raws) == 25
    for raw in raws:
        state = raw.values["steps/observation/state"].reshape(-1, 7)
        action = raw.values["steps/action"].reshape(-1, 7)
        actions, proprio = written_rules(state, action)
        standardized = STANDARDS["bridge_orig"].apply(raw)
        assert len(standardized.actions) == len(state) - 2
        np.testing.assert_array_equal(standardized.actions, actions)
        np.testing.assert_array_equal(standardized.proprio, proprio)
        assert standardized.first == 1


@pytest.mark.parametrize("seed", range(20))
def test_the_rules_hold_for_grippers_between_open_and_closed(seed):
    rng = np.random.default_rng(seed)
    length = rng.integers(3, 30)
    state, action = rng.normal(size=(2, length, 7)).astype(np.float32)
    action[:, 6] = rng.choice([0.0, 0.03, 0.05, 0.4, 0.9, 0.95, 0.97, 1.0], length)
    actions, proprio = written_rules(state, action)
    standardized = bridge(raw_episode(state, action))
    np.testing.assert_array_equal(standardized.actions, actions)
    np.testing.assert_array_equal(standardized.proprio, proprio)


@pytest.mark.parametrize("length", [1, 2])
def test_a_bridge_episode_of_two_steps_has_nothing_left(length):
    assert len(bridge(raw_episode(np.zeros((length, 7)), np.zeros((length, 7)))).actions) == 0


def test_tabletop_is_taken_as_recorded():
    state, action = np.random.default_rng(0).normal(size=(2, 4, 7)).astype(np.float32)
    standardized = plain(raw_episode(state, action, (b"", b"  lift it ")))
    np.testing.assert_array_equal(standardized.actions, action)
    np.testing.assert_array_equal(standardized.proprio, state)
    assert standardized.instruction == "lift it"
    assert standardized.first == 0


def test_an_episode_without_words_has_an_empty_instruction():
    assert plain(raw_episode(np.zeros((2, 7)), np.zeros((2, 7)), (b"", b" "))).instruction == ""


def test_a_missing_field_tells_which_there_are():
    raw = RawEpisode(0, 0, 0, {"steps/other": np.zeros(3, np.float32)})
    with pytest.raises(StairError, match=r"no 'steps/action' of 7 numbers(.|\n)*it has steps/other"):
        plain(raw)


def test_fractal_says_that_it_cannot_be_read_yet():
    with pytest.raises(StairError, match="fractal20220817_data cannot be standardised yet"):
        STANDARDS["fractal20220817_data"].apply(raw_episode(np.zeros((2, 7)), np.zeros((2, 7))))


def test_a_missing_folder_says_what_is_there_instead(tmp_path):
    with pytest.raises(StairError, match="there is no folder"):
        dataset_folder(tmp_path / "nowhere", "bridge_orig")
    (tmp_path / "bridge_dataset").mkdir()
    with pytest.raises(StairError, match=r"holds bridge_dataset(.|\n)*renamed"):
        dataset_folder(tmp_path, "bridge_orig")
    (tmp_path / "bridge_orig" / "0.9.0").mkdir(parents=True)
    with pytest.raises(StairError, match=r"1\.0\.0: .*bridge_orig holds 0\.9\.0"):
        dataset_folder(tmp_path, "bridge_orig")


def test_an_unknown_data_set_gets_the_nearest_name(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'bridge_orig'"):
        dataset_folder(tmp_path, "bridge_org")
