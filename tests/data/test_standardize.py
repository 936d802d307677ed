import numpy as np
import pytest

from stair.data.example import ByteSpans
from stair.data.rlds import RawEpisode, RldsFolder
from stair.data.standardize import (
    STANDARDS,
    absolute_gripper,
    bridge,
    dataset_folder,
    fractal,
    plain,
    pose_of,
    pose_of_quaternion,
    refuse_infinite,
    unwrapped,
)
from stair.errors import StairError, UsageError
from tools.made_fractal import WORDS, write_fractal


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
        proprio.append([*state[t][:6], 0.0, state[t][6]])  # OpenVLA pads between pose and gripper
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


def written_fractal_rules(values):
    """Fractal by the letter of the specification, one number at a time."""
    world = values["steps/action/world_vector"].reshape(-1, 3)
    rotation = values["steps/action/rotation_delta"].reshape(-1, 3)
    moves, bound = values["steps/action/gripper_closedness_action"], np.float32(0.1)
    events = [1.0 if m < -bound else 0.0 if m > bound else None for m in moves]
    told = [event for event in events if event is not None]
    state = 1 - told[0] if told else 1.0  # before the first event the opposite of it; open without any
    actions, proprio = [], []
    for t, event in enumerate(events):
        state = state if event is None else event
        actions.append([*world[t], *rotation[t], state])
        pose = values["steps/observation/base_pose_tool_reached"].reshape(-1, 7)[t]
        proprio.append([*pose, values["steps/observation/gripper_closed"][t]])
    return np.array(actions, np.float32), np.array(proprio, np.float32)


def test_every_generated_fractal_episode_follows_the_written_rules(tmp_path):
    folder = RldsFolder.open(write_fractal(tmp_path, (1, 2, 30, 43, 17, 5)))
    for raw in folder.episodes("train"):
        actions, proprio = written_fractal_rules(raw.values)
        standardized = fractal(raw)
        np.testing.assert_array_equal(standardized.actions, actions)
        np.testing.assert_array_equal(standardized.proprio, proprio)
        assert standardized.first == 0
        assert standardized.instruction in WORDS


@pytest.mark.parametrize(
    ("closing", "states"),
    [
        ([0, 0, 0], [1, 1, 1]),  # no event: open
        ([0, 1, 0, -1, 0], [1, 0, 0, 1, 1]),  # first event closes: open before it
        ([0, -1, 0, 1, 1], [0, 1, 1, 0, 0]),  # first event opens: closed before it
        ([0.1, -0.1, 0.05], [1, 1, 1]),  # the bounds themselves are no events
        ([1, 1, -1, -1], [0, 0, 1, 1]),
    ],
)
def test_commands_to_move_the_gripper_become_its_states(closing, states):
    assert absolute_gripper(np.array(closing, np.float32)).tolist() == states


def test_a_quaternion_becomes_the_angles_that_turn_as_it_does():
    rng = np.random.default_rng(0)
    for _ in range(50):
        q = rng.normal(size=4)
        x, y, z, w = q / np.linalg.norm(q)
        matrix = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        roll, pitch, yaw = pose_of_quaternion(np.array([1, 2, 3, *q, 0.25]))[3:6].astype(float)
        about = [
            np.array([[1, 0, 0], [0, np.cos(roll), -np.sin(roll)], [0, np.sin(roll), np.cos(roll)]]),
            np.array([[np.cos(pitch), 0, np.sin(pitch)], [0, 1, 0], [-np.sin(pitch), 0, np.cos(pitch)]]),
            np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]]),
        ]
        np.testing.assert_allclose(about[2] @ about[1] @ about[0], matrix, atol=1e-5)


def test_a_pose_has_its_gripper_open_at_one_whatever_the_data_set():
    published = np.array([[0.1, 0.2, 0.3, 0, 0, 0, 1, 0.75]], np.float32)
    assert pose_of("fractal20220817_data", published)[0].tolist() == pytest.approx(
        [0.1, 0.2, 0.3, 0, 0, 0, 0.25]
    )
    euler = np.array([[1, 2, 3, 4, 5, 6, 0, 7]], np.float32)
    assert pose_of("bridge_orig", euler).tolist() == [[1, 2, 3, 4, 5, 6, 7]]
    seven = euler[:, :7]
    assert pose_of("bridge_orig", seven) is seven  # a pose already


def test_20b_rotations_are_unwrapped_where_asked_and_nothing_else_changes():
    actions = np.array([[0, 0, 0, 6.28, -3.0, 0.1, 1], [9, 9, 9, -6.2, 3.0, 0, 0]], np.float32)
    changed = unwrapped(actions)
    np.testing.assert_allclose(changed[:, 3], [6.28 - 2 * np.pi, 2 * np.pi - 6.2], atol=1e-6)
    np.testing.assert_array_equal(changed[:, [0, 1, 2, 4, 5, 6]], actions[:, [0, 1, 2, 4, 5, 6]])
    assert unwrapped(changed) is changed


@pytest.mark.parametrize("words", [b"b'pick up'", b'b"pick up"', b"B'x'"])
def test_the_print_of_a_byte_string_is_no_instruction(words):
    with pytest.raises(StairError, match="a byte string as Python prints it"):
        plain(raw_episode(np.zeros((2, 7)), np.zeros((2, 7)), (words,)))


@pytest.mark.parametrize("words", [b"bring 'it' back", b"b' is no word", b"put the b'"])
def test_marks_within_an_instruction_are_left_alone(words):
    assert plain(raw_episode(np.zeros((2, 7)), np.zeros((2, 7)), (words,))).instruction == words.decode()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_named_with_their_place(value):
    actions, proprio = np.zeros((5, 7), np.float32), np.zeros((5, 8), np.float32)
    refuse_infinite(actions, proprio)
    actions[3, 2] = value
    with pytest.raises(StairError, match=r"action 2 of step 3 is -?(nan|inf)"):
        refuse_infinite(actions, proprio)
    proprio[4, 7] = value
    with pytest.raises(StairError, match="proprio 7 of step 4"):
        refuse_infinite(np.zeros((5, 7)), proprio)


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
