"""ManiSkill itself, drawn on the CPU: pictures, conventions, flags, and a success through the whole chain.

Plays in the interpreter that STAIR_MS3_PYTHON names (it sets up its own Vulkan driver), or else in the
evaluation image. The WidowX tasks need `widowx_assets` in STAIR_TEST_DATA or ../shared/data; without them the
tasks that need none are played. A minute and a half on two free cores.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.containers.baked import CHECKOUT
from tests.containers.eval_image import eval_image  # noqa: F401
from tests.fakes.recorded_policy import RecordedPolicy
from tests.fakes.serving import serving

FIRST_FRAMES = {
    "a": "2616d740099c0067",
    "b": "f777478b403375c6",
    "c": "73c18b321f7a06e9",
    "d": "4fce5ba3c4daee28",
}
"""Of the WidowX tasks; the same from Mesa 25.0.7 and 26.1.6."""
TILES = {
    "a": [126, 99, 88, 112, 135, 120, 92, 97, 151, 143, 109, 131, 74, 103, 117, 148],
    "b": [126, 99, 88, 112, 135, 153, 95, 97, 130, 114, 109, 131, 74, 103, 117, 148],
    "c": [79, 87, 23, 107, 116, 135, 135, 113, 119, 143, 142, 136, 115, 95, 117, 139],
    "d": [79, 87, 23, 107, 116, 135, 135, 113, 119, 142, 142, 136, 115, 95, 117, 139],
}
"""Brightness of those frames in 4 x 4 tiles, row by row: for drivers that round otherwise."""

Run = Callable[..., str]


@pytest.fixture(scope="module")
def assets() -> Path | None:
    beside = Path(__file__).parents[2].parent / "shared" / "data"
    bundle = Path(os.environ.get("STAIR_TEST_DATA", beside)) / "widowx_assets"
    return bundle if bundle.is_dir() else None


@pytest.fixture(scope="module")
def run(request, assets: Path | None, tmp_path_factory) -> Run:
    """Runs words with a Python that has mani_skill; {assets} and {out} in them become its names of them."""
    out, python = tmp_path_factory.mktemp("maniskill3"), os.environ.get("STAIR_MS3_PYTHON", "")
    image = None if python else request.getfixturevalue("eval_image")

    def go(*words: str, timeout_s: float = 590) -> str:
        names = {"assets": str(assets or ""), "out": str(out)}
        if image:
            names = {"assets": "/assets", "out": "/out"}
        words = tuple(word.format(**names) for word in words)
        if image:
            binds = [f"{CHECKOUT}:/opt/stair/src:ro", f"{out}:/out"]
            binds += [f"{assets}:/assets:ro"] if assets else []
            options = [word for bind in binds for word in ("-B", bind)]
            done = image.run(
                *("python", "-W", "ignore", *words),
                options=(*options, "--no-home", "--pwd", "/opt/stair/src", "--env", "OMP_NUM_THREADS=1"),
                timeout_s=timeout_s,
            )
        else:
            environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                [python, "-W", "ignore", *words],
                capture_output=True,
                text=True,
                env=environment,
                cwd=CHECKOUT,
                timeout=timeout_s,
            )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout

    go.out = out  # type: ignore[attr-defined]
    return go


@pytest.fixture(scope="module")
def told(run: Run, assets: Path | None) -> dict:
    """What maniskill3_script.py saw."""
    return json.loads(
        run("tests/sim/maniskill3_script.py", "{assets}" if assets else "none").splitlines()[-1]
    )


def test_pictures_are_the_protocols_and_not_constant(told: dict):
    for seen in told.values():
        assert seen["shape"] == [480, 640, 3, "uint8"]
        assert seen["spread"] > 20


def test_an_episode_is_the_same_whatever_was_played_before(told: dict):
    """Other layouts in between, or another scene whose photograph and lists mani_skill keeps on the class."""
    assert told["a"] == told["a again"] == told["a after another scene"]
    assert told["c"] == told["c again"]
    assert len({told[name]["first"] for name in "abcd"}) == 4


def test_the_hand_moves_by_metres_and_the_episode_ends_at_its_limit(told: dict):
    assert told["a"]["truncated"] == [False, False, False, True]
    assert told["c"]["truncated"] == [False, False]
    assert told["a"]["success"] == [False] * 4
    np.testing.assert_allclose(told["a"]["moved"], [0, 0, -0.08], atol=1e-4)
    np.testing.assert_allclose(told["c"]["moved"], [0.02, 0.04, 0], atol=1e-4)


def test_the_hand_turns_by_what_roll_pitch_yaw_mean(told: dict, assets: Path | None):
    roll, pitch, yaw = (0.2, -0.3, 0.25) if assets else (0.02, -0.03, 0.025)
    # the first column of Rz(yaw) Ry(pitch) Rx(roll), and its last row
    turned = np.array(told["b"]["turned"])
    column = [np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), -np.sin(pitch)]
    row = [np.cos(pitch) * np.sin(roll), np.cos(pitch) * np.cos(roll)]
    np.testing.assert_allclose(turned[:, 0], column, atol=1e-4)
    np.testing.assert_allclose(turned[2, 1:], row, atol=1e-4)


def test_the_gripper_closes_at_zero_and_opens_at_one(told: dict, assets: Path | None):
    closed, opened = (0.016, 0.036) if assets else (0.005, 0.035)
    assert told["a"]["fingers"] < closed
    assert told["c"]["fingers"] > opened


def test_flags_are_named_booleans(told: dict):
    for seen in told.values():
        assert all(isinstance(value, bool) for value in seen["info"].values())
    assert {"grasped", "on_target"} <= set(told["a"]["info"])
    assert "cube" in told["a"]["words"] or told["a"]["words"] == "put carrot on plate"


def test_first_frames_are_those_on_record(told: dict, assets: Path | None):
    if assets is None:
        pytest.skip("no WidowX assets: their first frames cannot be compared")
    for name, known in FIRST_FRAMES.items():
        seen = told[name]
        if seen["first"] != known:
            np.testing.assert_allclose(np.ravel(seen["tiles"]), TILES[name], atol=1, err_msg=name)


@pytest.mark.slow
def test_an_expert_succeeds_over_the_websocket_and_doing_nothing_does_not(run: Run, assets: Path | None):
    """Actions that were right when they were recorded are right again when they come from a server that has
    only pictures; so frames, gripper and scale are right all along the chain."""
    if assets is None:
        pytest.skip("no WidowX assets: the expert has nothing to carry")
    task = "widowx_carrot_on_plate"
    run("-m", "tests.fakes.record_expert", "{assets}", "{out}/expert.npz", task, "--layouts", "0", "1")
    with np.load(run.out / "expert.npz") as held:  # type: ignore[attr-defined]
        expert = RecordedPolicy(held["frames"], held["actions"], held["episode"], "expert")
    nothing = RecordedPolicy(np.zeros((0, 60, 80, 3)), np.zeros((0, 7)), np.zeros(0), "nothing")
    wins = {}
    for policy in (expert, nothing):
        name = policy.spec.name
        with serving(policy) as address:
            words = f"--simulator maniskill3 --render cpu --tasks [{task}] --episodes 2 --first_episode 0"
            words += f" --workers 1 --videos 1 --policy {address}"
            run("-m", "stair.evaluate", *words.split(), "--assets", "{assets}", "--run", "{out}/" + name)
        episodes = run.out / name / "episodes"  # type: ignore[attr-defined]
        records = [
            json.loads(line) for file in episodes.glob("*.jsonl") for line in file.read_text().splitlines()
        ]
        assert sorted(record["key"] for record in records) == [f"{task}/ep0000", f"{task}/ep0001"]
        wins[name] = [record["success"] for record in records]
    assert wins == {"expert": [True, True], "nothing": [False, False]}
