"""Being asked to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stair.rundir import RunDir
from stair.train.config import EngineConfig
from stair.train.run import train
from stair.train.stop import SIGNALS, TRY_AGAIN, StopRequest
from stair.train.world import join_world
from tests.train.small import settings_of


def test_any_number_of_any_signal_sets_one_flag_and_earlier_handlers_come_back() -> None:
    earlier = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        assert not stop.wanted
        for number in (*SIGNALS, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert stop.wanted
    assert signal.getsignal(signal.SIGTERM) is earlier


def test_a_signal_that_was_held_back_before_listening_is_heard() -> None:
    # In a process of its own: here another thread might take the signal, and that would be the end.
    code = """
import os, signal
from stair.train.stop import SIGNALS, StopRequest
signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
os.kill(os.getpid(), signal.SIGUSR2)
with StopRequest() as stop:
    print(stop.wanted)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "True\n")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_during_pythons_own_end_does_not_change_the_exit_code(number: int) -> None:
    code = f"""
import atexit, os, sys
from stair.train.stop import StopRequest
class Last:
    def __del__(self): os.kill(os.getpid(), {int(number)})
sys.last = Last()
stop = StopRequest().listen()
stop.deaf()
sys.exit(75)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == TRY_AGAIN


def test_a_run_told_before_its_first_step_leaves_without_one(tmp_path: Path, data: Path) -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        config = settings_of(tmp_path / "run", data)
        assert train(config, join_world(EngineConfig(device="cpu"), {}), stop) == TRY_AGAIN
    run = RunDir(tmp_path / "run")
    assert not run.metrics.exists()
    assert not run.saved_checkpoints()


def test_a_finished_run_is_finished_though_it_is_told_to_stop(finished: Path, data: Path) -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        config = settings_of(finished, data, steps=12, checkpoint__every=4)
        assert train(config, join_world(EngineConfig(device="cpu"), {}), stop) == 0
