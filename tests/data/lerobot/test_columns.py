"""Which columns are the seven numbers of an action and of a state."""

from pathlib import Path

import numpy as np
import pytest

from stair.data.config import LeRobotConfig
from stair.data.lerobot.columns import EULER, PADDED, QUATERNION, Pick, decide_columns
from stair.data.lerobot.folder import LeRobotFolder
from stair.data.standardize import pose_of_quaternion
from stair.errors import UsageError

CAMERA = "observation.images.image_0"


def folder(state=EULER, action=EULER, *, cameras=(CAMERA,), modality=None) -> LeRobotFolder:
    """A folder of which only the features matter; names of a feature, or how many numbers without names."""

    def feature(names):
        if isinstance(names, int):
            return {"dtype": "float32", "shape": [names], "names": None}
        return {"dtype": "float32", "shape": [len(names)], "names": {"motors": list(names)}}

    features = {camera: {"dtype": "video", "shape": [64, 64, 3]} for camera in cameras}
    features |= {"observation.state": feature(state), "action": feature(action)}
    none = np.empty(0, np.int64)
    return LeRobotFolder(Path("there"), "v2.1", 5.0, features, none, none, {}, {}, modality or {}, {})


def picks(feature, numbers):
    return tuple(Pick(feature, number) for number in numbers)


def test_the_oxe_editions_keep_their_eight_numbers():
    for dataset, names in (("bridge_orig", PADDED), ("fractal20220817_data", QUATERNION)):
        camera = "observation.images.image" + ("_0" if dataset == "bridge_orig" else "")
        for state in (names, 8):
            columns = decide_columns(
                folder(state, EULER if state != 8 else 7, cameras=(camera, "other")), dataset, LeRobotConfig()
            )
            assert columns.state == picks("observation.state", range(8))
            assert columns.action == picks("action", range(7))
            assert columns.camera == camera
            assert not columns.turned


def test_names_are_found_wherever_they_stand():
    mixed = ("gripper", "z", "y", "x", "noise", "yaw", "pitch", "roll")
    columns = decide_columns(folder(mixed), "kitchen", LeRobotConfig())
    assert columns.state == picks("observation.state", (3, 2, 1, 7, 6, 5, 0))


def test_another_data_sets_quaternion_becomes_angles_and_its_gripper_stays():
    columns = decide_columns(folder(QUATERNION), "kitchen", LeRobotConfig())
    rng = np.random.default_rng(0)
    states = rng.normal(size=(20, 8)).astype(np.float32)
    states[:, 7] = rng.random(20)
    pose = columns.proprio({"observation.state": states})
    assert pose.shape == (20, 7)
    np.testing.assert_allclose(pose[:, 6], states[:, 7], atol=1e-6)
    np.testing.assert_array_equal(pose[:, :6], pose_of_quaternion(states)[:, :6])


def test_modality_json_wins_over_the_names_of_info():
    places = {name: {"start": 6 - n, "end": 7 - n} for n, name in enumerate(EULER)}
    modality = {"state": places, "action": places, "video": {"front": {"original_key": "second"}}}
    columns = decide_columns(
        folder(cameras=("first", "second"), modality=modality), "kitchen", LeRobotConfig()
    )
    assert columns.action == picks("action", range(6, -1, -1))
    assert columns.camera == "second"


def test_the_settings_win_over_everything():
    config = LeRobotConfig(
        "second", tuple(f"observation.state[{n}]" for n in (1, 2, 3, 4, 5, 6, 0)), (*EULER[:6], "1-gripper")
    )
    columns = decide_columns(folder(cameras=("first", "second")), "kitchen", config)
    assert columns.state == picks("observation.state", (1, 2, 3, 4, 5, 6, 0))
    assert columns.action[6] == Pick("action", 6, inverted=True)
    values = np.arange(7, dtype=np.float32)[None] / 10
    np.testing.assert_allclose(columns.actions({"action": values})[0, 6], 0.4)


@pytest.mark.parametrize(
    ("made", "config", "match"),
    [
        (folder(("a", "b")), {}, "cannot tell what observation.state means; its numbers are a, b"),
        (folder(action=7), {}, "cannot tell what action means; its numbers are unnamed"),
        (folder(cameras=("one", "two")), {}, "has 2 cameras: one, two"),
        (folder(cameras=()), {}, "has 0 cameras: none"),
        (folder(), {"image": "x"}, "no camera 'x'"),
        (folder(), {"action": EULER[:5]}, "data.lerobot.action names 5 numbers"),
        (folder(), {"state": ("observation.state[9]",) * 7}, r"has no 'observation.state\[9\]'"),
    ],
)
def test_what_cannot_be_told_is_refused_with_what_there_is(made, config, match):
    with pytest.raises(UsageError, match=match) as caught:
        decide_columns(made, "kitchen", LeRobotConfig(**config))
    assert caught.value.hint
