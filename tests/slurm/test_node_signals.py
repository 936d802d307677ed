"""What srun makes of signals on its way to the tasks of node.py; the supervisor rests on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from stair.rundir import RunDir
from stair.submit.node import ending_file, read_ending
from stair.submit.plan import Plan, Step
from stair.submit.verdict import Ending
from tests.slurm.live import LiveSlurm
from tests.submit.scripted import TRAINER, a_plan, a_step, wait_for_line


class Running:
    """A step on two nodes, started by srun as the supervisor does it; the trainers save apart."""

    def __init__(self, slurm: LiveSlurm, folder: Path, *, knows_user_signals: bool = True) -> None:
        run = RunDir(folder / "run").create()
        code = TRAINER.replace("range(first, 60)", "range(first, 3000)")
        code = code.replace('"state"', "f\"state-{__import__('os').environ['STAIR_NODE_RANK']}\"")
        # While Python ends, signals are deadly again; ours ignores them then, see StopRequest.deaf.
        code = code.replace("sys.exit(75)", "__import__('os')._exit(75)")
        for name in ("SIGUSR1", "SIGUSR2") if knows_user_signals else ():
            code = f"import signal\nsignal.signal(signal.{name}, lambda *_: wanted.append(1))\n{code}"
        self.step: Step = replace(a_step(run.path, "one", code), nodes=2)
        plan: Plan = replace(a_plan(run.path, self.step), executor="slurm")
        run.plan.write_text(plan.text())
        self.run, self.slurm = run, slurm
        words = ["--nodes=2", "--ntasks-per-node=1", "--kill-on-bad-exit=1", "--job-name=signals", "--time=5"]
        node = [sys.executable, "-m", "stair.submit.node", str(run.plan), "one"]
        self.srun = subprocess.Popen(["srun", *words, *node], env={**os.environ, **slurm.environment})
        for log in ("one.log", "one-node1.log"):
            wait_for_line(run.logs / log, "step 3 ")
        (place,) = (run.path / "attempts/one").iterdir()
        self.job = place.name.partition(".")[0]

    def endings(self) -> list[Ending]:
        """What both nodes said in the end."""
        self.srun.wait(timeout=120)
        found = [read_ending(ending_file(self.run, self.step, self.job, 0, node)) for node in (0, 1)]
        assert all(found)
        return [ending for ending in found if ending]


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGUSR1])
def test_srun_passes_user_signals_on_to_all_nodes(slurm: LiveSlurm, tmp_path: Path, number: signal.Signals):
    running = Running(slurm, tmp_path)
    running.srun.send_signal(number)
    assert [ending.verdict for ending in running.endings()] == ["checkpointed", "checkpointed"]
    assert [ending.code for ending in running.endings()] == [75, 75]
    assert running.srun.returncode == 0
    assert all((running.run.path / f"one/state-{node}").exists() for node in (0, 1))


def test_srun_signals_every_process_of_a_step_and_who_dies_of_it_has_left(slurm: LiveSlurm, tmp_path: Path):
    running = Running(slurm, tmp_path, knows_user_signals=False)
    running.srun.send_signal(signal.SIGUSR2)
    assert [ending.verdict for ending in running.endings()] == ["checkpointed", "checkpointed"]
    assert [ending.code for ending in running.endings()] == [-signal.SIGUSR2, -signal.SIGUSR2]


def test_signals_to_every_process_of_the_step_three_times_are_one(slurm: LiveSlurm, tmp_path: Path):
    running = Running(slurm, tmp_path)
    for name in ("TERM", "USR2", "TERM"):
        slurm.run("scancel", f"--signal={name}", f"{running.job}.0", check=False)
    assert [ending.verdict for ending in running.endings()] == ["checkpointed", "checkpointed"]


def test_sigterm_to_srun_kills_its_tasks_at_once(slurm: LiveSlurm, tmp_path: Path):
    # Why the supervisor sends USR2; when this fails, srun has become gentler and either will do.
    running = Running(slurm, tmp_path)
    started = time.monotonic()
    running.srun.send_signal(signal.SIGTERM)
    running.srun.wait(timeout=60)
    assert time.monotonic() - started < 30
    assert not list((running.run.path / "attempts/one").rglob("node-*.json"))
