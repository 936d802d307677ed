"""A launch, its processes and the signals between them; every one is a real process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest

from stair.errors import UsageError
from stair.rundir import RunDir
from stair.train.launch import FIRST, Launch, Place, read_place, read_words
from stair.train.stop import SIGNALS, TRY_AGAIN
from tests.train.small import (
    children,
    column,
    end,
    launch,
    launch_nodes,
    output_of,
    settings_of,
    wait_until,
)

PATIENCE_S = 240
"""Twenty times what it takes: the machine may be busy."""


def test_told_three_times_from_all_sides_it_saves_once_and_goes_on_bit_for_bit(tmp_path: Path, data: Path):
    run = RunDir(tmp_path / "run")
    flags = {"checkpoint__every": 1, "checkpoint__keep": 2}  # some save is always under way
    process = launch(settings_of(run.path, data, steps=100_000, **flags))
    try:
        wait_until(lambda: run.saved_checkpoints() or process.poll() is not None)
        assert process.poll() is None, process.communicate()[0]
        everyone = [process.pid, *children(process.pid)]
        assert len(everyone) == 3
        for number in (*SIGNALS, signal.SIGUSR2):
            for pid in everyone:
                with contextlib.suppress(ProcessLookupError):  # the first one was enough for it
                    os.kill(pid, number)
        output, _ = process.communicate(timeout=PATIENCE_S)
    finally:
        end([process])
    assert process.returncode == TRY_AGAIN, output
    newest = run.latest_checkpoint()
    assert newest is not None
    assert column(run.path, "step") == list(range(1, newest.step + 1))
    assert {path.name for path in run.checkpoints.iterdir()} == {c.path.name for c in run.saved_checkpoints()}

    steps = newest.step + 2
    whole = launch(settings_of(tmp_path / "whole", data, steps=steps))
    rest = launch(settings_of(run.path, data, steps=steps, **flags))
    try:
        outputs = [process.communicate(timeout=PATIENCE_S)[0] for process in (whole, rest)]
    finally:
        end([whole, rest])
    assert [whole.returncode, rest.returncode] == [0, 0], outputs
    for name in ("loss", "loss_action", "grad_norm", "lr"):
        assert column(run.path, name) == column(tmp_path / "whole", name)


def test_told_while_it_starts_it_leaves_before_the_first_step(tmp_path: Path, data: Path):
    run = RunDir(tmp_path / "run")
    process = launch(settings_of(run.path, data, steps=100_000))
    try:
        wait_until(lambda: len(children(process.pid)) == 2)
        for pid in (*children(process.pid), process.pid):  # the processes are hardly more than a fork yet
            with contextlib.suppress(ProcessLookupError):  # it has left because the first one was told to
                os.kill(pid, signal.SIGUSR2)
        output, _ = process.communicate(timeout=PATIENCE_S)
    finally:
        end([process])
    assert process.returncode == TRY_AGAIN, output
    assert "told to stop before step 1" in output
    assert not run.metrics.exists()


def test_a_killed_process_on_one_node_ends_both_within_seconds_and_is_named(tmp_path: Path, data: Path):
    run = RunDir(tmp_path / "run")
    nodes = launch_nodes(settings_of(run.path, data, steps=100_000, checkpoint__every=2), tmp_path / "logs")
    try:
        wait_until(lambda: run.saved_checkpoints() or nodes[0].poll() is not None)
        assert nodes[0].poll() is None, nodes[0].communicate()[0]
        (victim,) = children(nodes[1].pid)
        os.kill(victim, signal.SIGKILL)
        outputs = [node.communicate(timeout=120)[0] for node in nodes]
    finally:
        end(nodes)
    assert [node.returncode for node in nodes] == [76, 76], outputs
    assert "error: rank 1 of 2 was killed by SIGKILL" in outputs[1]
    assert "error: process 0 lost another one: " in outputs[0]
    assert "Traceback" not in "".join(outputs)
    first = json.loads((tmp_path / "logs/node1" / FIRST).read_text())
    assert (first["rank"], first["code"]) == (1, -9)
    assert Path(first["log"]).exists()
    other = json.loads((tmp_path / "logs/node0" / FIRST).read_text())
    assert "lost another one" in Path(other["log"]).read_text()
    assert run.saved_checkpoints()


def test_processes_die_with_a_launcher_that_was_killed(tmp_path: Path, data: Path):
    process = launch(settings_of(tmp_path / "run", data, steps=100_000))
    ranks: list[int] = []

    def both_run() -> bool:
        ranks[:] = children(process.pid)
        return len(ranks) == 2 and all(is_python_rank(pid) for pid in ranks)

    try:
        wait_until(both_run)
        process.kill()
        wait_until(lambda: not any(is_python_rank(pid) for pid in ranks))
    finally:
        end([process])
        for pid in filter(is_python_rank, ranks):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def is_python_rank(pid: int) -> bool:
    """Whether the process runs one of our ranks: not yet replaced by it, or dead, it does not."""
    with contextlib.suppress(OSError):
        return b"stair.train.rank" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def test_a_full_disk_is_explained_by_the_launch_too(small_disk: Path, data: Path, tmp_path: Path):
    config = settings_of(small_disk / "run", data, steps=50, checkpoint__every=1, checkpoint__keep=0)
    process = launch(config, "--logs", str(tmp_path / "logs"))
    try:
        output, _ = process.communicate(timeout=PATIENCE_S)
    finally:
        end([process])
    assert process.returncode == 1, output
    assert "failed first, exit 1: checkpoint " in output
    assert "could not be written: " in json.loads((tmp_path / "logs" / FIRST).read_text())["what"]
    assert "Traceback" not in output


def test_words_reach_the_training_as_they_are(tmp_path: Path):
    name = "a ${local_rank} $$ b;$(id)"  # torchrun's agent would fill in the first and halve the second
    process = launch(
        settings_of(tmp_path / "x", tmp_path / "nowhere"), "--", "--run", str(tmp_path / name), processes=1
    )
    output = output_of(process)
    assert process.returncode == 1, output
    assert "nowhere" in output
    assert (tmp_path / name).is_dir()


def test_nodes_that_do_not_meet_say_so_and_may_try_again(tmp_path: Path):
    place = {"STAIR_NODES": "2", "STAIR_NODE_RANK": "1", "STAIR_RENDEZVOUS": "127.0.0.1:9"}
    process = launch(settings_of(tmp_path / "run", tmp_path), "--wait-s", "2", processes=1, **place)
    output = output_of(process)
    assert process.returncode == 76, output
    assert "error: node 1 of 2 did not meet the others at 127.0.0.1:9" in output


def test_a_launcher_that_cannot_work_does_not_end_well(tmp_path: Path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text("raise ImportError('a broken image')")
    process = launch(settings_of(tmp_path / "run", tmp_path), PYTHONPATH=str(tmp_path))
    output = output_of(process)
    assert process.returncode == 70, output
    assert "error: the launcher failed: a broken image" in output


def test_our_options_come_first_and_the_rest_is_the_trainings():
    words = ["--processes", "4", "--config", "f", "--logs", "x"]
    assert read_words(words, {"STAIR_LOGS": "l"}) == Launch(4, ("--config", "f", "--logs", "x"), "l")
    assert read_words(["--logs", "x", "--processes", "1", "--", "--processes", "9"], {}) == Launch(
        1, ("--processes", "9"), "x"
    )


@pytest.mark.parametrize(
    "words", [[], ["--processes"], ["--processes", "two"], ["--processes", "0"], ["--config", "f"]]
)
def test_a_launch_of_no_number_of_processes_is_refused(words: list[str]):
    with pytest.raises(UsageError):
        read_words(words, {})


def test_a_place_is_whole_or_absent():
    whole = {
        "STAIR_NODES": "2",
        "STAIR_NODE_RANK": "1",
        "STAIR_RENDEZVOUS": "n1:15000",
        "STAIR_ATTEMPT": "3.0",
    }
    assert read_place(whole) == Place(2, 1, "n1:15000", "3.0")
    assert read_place({"STAIR_ATTEMPT": "3.0"}) == Place()
    for change in (
        {"STAIR_NODES": ""},
        {"STAIR_NODE_RANK": "2"},
        {"STAIR_RENDEZVOUS": "n1"},
        {"STAIR_NODES": "x"},
    ):
        with pytest.raises(UsageError):
            read_place(whole | change)
