"""A whole evaluation over real sockets and processes: it resumes, refuses, and survives losses."""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from stair.errors import StairError, UsageError
from stair.evaluate import evaluation
from stair.evaluate.config import EvalConfig
from stair.evaluate.episodes import HEADER, append_record, read_records
from stair.evaluate.evaluation import all_points, evaluate, find_address, identity
from stair.rundir import RunDir
from tests.evaluate.test_episodes import record
from tests.fakes.scripted_server import ScriptedPolicy
from tests.fakes.serving import LONG_S, serving, start_process
from tests.processes import is_running


@pytest.fixture(scope="module")
def server():
    policy = ScriptedPolicy()
    with serving(policy, max_wait_ms=2) as address:
        yield policy, address


@pytest.fixture
def config(server, tmp_path):
    return EvalConfig(
        policy=server[1],
        run=str(tmp_path / "run"),
        episodes=3,
        workers=1,
        videos=0,
        control="chunk",
        execute=16,
    )


@pytest.fixture(scope="module")
def one_episode(server, tmp_path_factory):
    """A run folder with one episode in it."""
    run = tmp_path_factory.mktemp("one") / "run"
    settings = {"episodes": 1, "workers": 1, "videos": 0, "control": "chunk", "execute": 16}
    evaluate(EvalConfig(policy=server[1], run=str(run), **settings))
    return run


@pytest.fixture
def begun(config, one_episode):
    """`config` with one episode on record already."""
    shutil.copytree(one_episode, config.run)
    return config


def results(records):
    return {one.key: (one.success, one.success_ever, one.queries, one.instruction) for one in records}


def test_workers_do_not_change_what_is_recorded(config, tmp_path):
    alone = evaluate(config)
    together = evaluate(replace(config, workers=3, run=str(tmp_path / "other")))
    assert results(alone) == results(together)
    assert [one.key for one in alone] == [f"tabletop_put_block/ep{100000 + k}" for k in range(3)]
    assert {(one.steps, one.queries, one.policy, one.error) for one in alone} == {(60, 4, "scripted", "")}


def test_repeating_a_command_plays_nothing_and_asking_for_more_plays_the_rest(config, server):
    first = evaluate(config)
    server[0].batches.clear()
    assert evaluate(config) == first
    assert server[0].batches == []
    more = evaluate(replace(config, episodes=5, workers=2))
    assert more[:3] == first
    assert len(more) == 5
    assert 2 * 4 <= sum(server[0].batches) < 4 * 4  # two episodes, and what is asked before the first


def test_an_episode_that_ended_in_an_error_is_played_again(begun):
    run = RunDir(Path(begun.run))
    good = read_records(run.episodes)[0]
    append_record(run.episodes, replace(good, error="the disk was full"))
    (again,) = evaluate(replace(begun, episodes=1))
    assert again == replace(good, wall_s=again.wall_s)
    assert len((run.episodes / "tabletop_put_block.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seed": 1}, "seed 0, not 1"),
        ({"execute": 4}, "execute 16, not 4"),
        ({"action_scale": 0.5}, "action_scale"),
        ({"instruction": "wait"}, "instruction"),
        ({"camera": 64}, "camera 0, not 64"),
        ({"max_steps": 5}, "max_steps 0, not 5"),
        ({"control": "ensemble"}, "control 'chunk', not 'ensemble'"),
    ],
)
def test_other_settings_are_refused_in_the_same_folder(begun, changes, field):
    config = begun
    before = sorted(Path(config.run).rglob("*"))
    with pytest.raises(UsageError, match=field) as caught:
        evaluate(replace(config, **changes))
    assert "--run" in caught.value.hint
    assert sorted(Path(config.run).rglob("*")) == before


def test_of_two_that_begin_one_folder_at_once_the_other_is_refused(config, monkeypatch):
    written = []

    def write(file, value):
        if not written:  # just before ours stands there, the other's does
            other = {**value, "seed": 7}
            evaluation.write_whole(RunDir(Path(config.run)).episodes / HEADER, json.dumps(other))
        written.append(file)
        original(file, value)

    original = evaluation.write_json
    monkeypatch.setattr(evaluation, "write_json", write)
    with pytest.raises(UsageError, match="seed 7, not 0"):
        evaluate(config)
    episodes = RunDir(Path(config.run)).episodes
    assert [file.name for file in episodes.iterdir()] == [HEADER]
    assert json.loads((episodes / HEADER).read_text())["seed"] == 7


def test_another_policy_is_refused_in_the_same_folder(begun):
    with serving(ScriptedPolicy(name="another")) as address, pytest.raises(UsageError, match="'another'"):
        evaluate(replace(begun, policy=address))


def test_films_are_made_of_the_first_episodes_and_stand_in_the_records(config):
    records = evaluate(replace(config, videos=2))
    assert [bool(one.video) for one in records] == [True, True, False]
    for one in records[:2]:
        video = Path(config.run) / one.video
        assert video.name == f"ep{one.episode_id}-{'success' if one.success else 'failure'}.mp4"
        assert video.stat().st_size > 1000
        assert video.with_suffix(".png").exists()


def test_a_swapped_goal_is_a_variant_with_records_of_its_own(begun):
    config = begun
    plain = evaluate(replace(config, episodes=1))
    swapped = evaluate(replace(config, episodes=1, swap_goal=True))
    assert swapped[0].key == f"{plain[0].key}/swapped"
    assert swapped[0].instruction != plain[0].instruction
    assert len(read_records(RunDir(Path(config.run)).episodes)) == 2


def test_a_policy_for_another_robot_is_refused_before_the_first_episode(config):
    with serving(ScriptedPolicy(hz=3.0)) as address, pytest.raises(StairError, match="control_hz differs"):
        evaluate(replace(config, policy=address))
    assert read_records(RunDir(Path(config.run)).episodes) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tasks": ("tabletop_put_blok",)}, "did you mean 'tabletop_put_block'"),
        ({"tasks": ()}, "nothing to evaluate"),
        ({"episodes": 0}, "nothing to evaluate"),
        ({"execute": 0}, "cannot run 0 actions"),
        ({"simulator": "tabeltop"}, "did you mean 'tabletop'"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_without_any_server(config, changes, words):
    with pytest.raises(UsageError) as caught:
        evaluate(replace(config, policy="ws://127.0.0.1:9", **changes))
    assert words in str(caught.value)


def test_an_error_in_the_simulator_is_the_episodes_and_not_the_evaluations(config, server):
    class Spoiled(ScriptedPolicy):
        def act_batch(self, queries):
            chunks = super().act_batch(queries)
            chunks[:, :, 0] = float("nan")
            return chunks

    with (
        serving(Spoiled()) as address,
        pytest.raises(StairError, match="3 of 3 episodes ended in errors") as caught,
    ):
        evaluate(replace(config, policy=address, pitfalls="say"))
    assert "seven finite numbers" in caught.value.what
    records = read_records(RunDir(Path(config.run)).episodes)
    assert len(records) == 3
    assert all("seven finite numbers" in one.error for one in records)
    assert [one.error for one in evaluate(config)] == [""] * 3  # mended: the same folder goes on


def test_an_evaluation_without_hope_gives_up(config):
    class Broken(ScriptedPolicy):
        def act_batch(self, queries):
            if any(query.seed > 3 for query in queries):  # the examination's are 0 to 3
                raise RuntimeError("no weights")
            return super().act_batch(queries)

    with serving(Broken()) as address, pytest.raises(StairError, match="the first 5 episodes all ended"):
        evaluate(replace(config, policy=address, episodes=50))
    assert len(read_records(RunDir(Path(config.run)).episodes)) == 5


def test_the_camera_is_as_large_as_told(config, server):
    sizes = set()

    class Looking(ScriptedPolicy):
        def act_batch(self, queries):
            sizes.update(query.image.shape for query in queries)
            return super().act_batch(queries)

    with serving(Looking()) as address:
        evaluate(replace(config, policy=address, camera=48, episodes=1))
    assert sizes == {(48, 48, 3)}


def test_identity_tells_only_what_changes_a_records_meaning():
    base = EvalConfig()
    same = replace(base, policy="ws://x:1", workers=9, videos=0, run="r", episodes=3, execute=9, timeout_s=1)
    assert identity(base, "p") == identity(same, "p")
    assert identity(base, "p") != identity(replace(base, ensemble_alpha=0.2), "p")


def test_an_address_file_is_waited_for_but_not_for_ever(tmp_path, capsys):
    file = tmp_path / "address"
    assert find_address("ws://a:1", 0) == "ws://a:1"
    with pytest.raises(StairError, match=r"within 0\.2 s"):
        find_address(str(file), 0.2)
    assert "waiting for a policy server" in capsys.readouterr().err
    file.write_text("ws://b:2\n")
    assert find_address(str(file), 0) == "ws://b:2"


def test_points_of_several_tasks_come_in_order():
    found = all_points(EvalConfig(tasks=("tabletop_put_block",) * 1, episodes=2, first_episode=7))
    assert [point.episode_id for point in found] == [7, 8]


@contextmanager
def command(address_file, run, episodes):
    """The command, which does not outlive a test that fails."""
    words = {"policy": address_file, "run": run, "episodes": episodes, "workers": 2, "videos": 0}
    process = subprocess.Popen(
        [sys.executable, "-m", "stair.evaluate", *(f"--{name}={value}" for name, value in words.items())],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def server_process(address_file, *words):
    process = start_process(address_file, *words)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def lines_of(file):
    return file.read_text().splitlines() if file.exists() else []


def test_a_killed_server_is_two_lines_and_repeating_plays_exactly_the_rest(tmp_path):
    address, run = tmp_path / "address", tmp_path / "run"
    file = run / "episodes" / "tabletop_put_block.jsonl"
    # Of its 400 answers the examination asks for 7 and an episode for 60: 6 episodes at most, and at least 4
    # if both processes were in the midst of one.
    with server_process(address, "--dies_after", "400"), command(address, run, 12) as evaluating:
        out, said = evaluating.communicate(timeout=2 * LONG_S)
    before = lines_of(file)
    assert 3 <= len(before) < 12
    assert evaluating.returncode == 1
    error = said[said.index("error:") :].strip().splitlines()
    assert len(error) == 2
    assert "policy server at ws://127.0.0.1:" in error[0]
    assert "is gone" in error[0]
    assert "goes on from there" in error[1]
    assert "Traceback" not in said
    assert all(json.loads(line)["error"] == "" for line in before)

    address.unlink()  # left behind by the kill
    with server_process(address), command(address, run, 12) as evaluating:
        out, said = evaluating.communicate(timeout=2 * LONG_S)
    assert evaluating.returncode == 0, said
    assert f"{len(before)} of 12 episodes are on record" in said
    assert "tabletop_put_block: " in out
    after = lines_of(file)
    assert after[: len(before)] == before
    keys = [json.loads(line)["key"] for line in after]
    assert len(keys) == len(set(keys)) == 12


def children_of(process):
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux")
def test_sigterm_ends_an_evaluation_with_its_simulator_processes(tmp_path):
    address, run = tmp_path / "address", tmp_path / "run"
    file, deadline = run / "episodes" / "tabletop_put_block.jsonl", time.monotonic() + 2 * LONG_S
    # More episodes than end before the signal comes, wherever this process stands still.
    with server_process(address, "--delay_ms", "3"), command(address, run, 5000) as evaluating:
        while not lines_of(file):
            assert time.monotonic() < deadline
            assert evaluating.poll() is None
            time.sleep(0.02)
        children = children_of(evaluating)
        assert len(children) >= 2
        evaluating.terminate()
        _, said = evaluating.communicate(timeout=LONG_S)
    assert evaluating.returncode == 128 + 15
    assert "Traceback" not in said
    deadline = time.monotonic() + LONG_S  # multiprocessing's own resource tracker leaves a moment later
    while any(map(is_running, children)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(is_running, children))
    assert all(json.loads(line)["error"] == "" for line in lines_of(file))


def test_an_evaluation_may_be_told_to_stop_twice():
    code = (
        "import atexit, os, signal, sys\n"
        "def told(*config): os.kill(os.getpid(), signal.SIGTERM)\n"
        "atexit.register(told)  # the second time its interpreter is ending already\n"
        "from stair import console\n"
        "from stair.evaluate import evaluation\n"
        "from stair.evaluate.__main__ import main\n"
        "evaluation.evaluate = told\n"
        "sys.exit(console.run_command(main))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LONG_S)
    assert (done.returncode, done.stderr) == (128 + 15, "")


def test_records_of_another_task_in_the_folder_are_left_alone(begun):
    append_record(RunDir(Path(begun.run)).episodes, record(0))
    assert [one.task for one in evaluate(replace(begun, episodes=1))] == ["tabletop_put_block"]
