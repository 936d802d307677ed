"""Kills in an evaluation leave nothing behind: a short version, with a stand-in for Slurm.

In full, on a real one: tools/kills.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from stair.cluster.profile import read_profile
from stair.evaluate.episodes import append_record, read_records
from stair.rundir import RunDir, write_json
from stair.submit.folder import write_settings
from stair.submit.plan import Budgets, Plan
from stair.submit.planning import make_plan
from stair.submit.recipe import make_chain, read_recipe
from tests.evaluate.test_episodes import record
from tests.submit.standin_slurm import StandIn
from tools import kills
from tools.devslurm.shape import Cluster
from tools.devslurm.system import Process

EPISODES, MEMBERS = 40, 2
PATIENCE_S = 480.0
SERVER = """
# Answers as tools/clairvoyant.py does, but not before whoever is due has been killed: an evaluation that is
# quicker than the one who kills would come to its end without its kills.
import json, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from stair.console import run_command
from stair.rundir import RunDir
from tools import clairvoyant, kills
run, to_come = RunDir(Path({run!r})), Path({to_come!r})
def somebody_is_due():
    moments = json.loads(to_come.read_text())
    return moments and kills.Reaper(run, 100, 1).on_record() >= moments[0]
class Patient(clairvoyant.Clairvoyant):
    def act(self, query):
        while query.seed in self.moments and to_come.exists() and somebody_is_due():
            time.sleep(0.02)
        return super().act(query)
clairvoyant.Clairvoyant = Patient
sys.exit(run_command(clairvoyant.main))
"""


def planned(folder: Path) -> Plan:
    """The plan that tools/kills.py would send, and its run folder."""
    array = kills.Array(Cluster(folder, 0), folder, EPISODES, MEMBERS)
    array.prepare()
    recipe = str(folder / "array.yaml")
    profile = read_profile(str(folder / "profile.yaml"))
    plan = make_plan(make_chain("array", read_recipe(recipe), []), profile, array.run.path, cwd=folder)
    plan = replace(plan, budgets=Budgets(crash=99, node=99))
    array.run.create().plan.write_text(plan.text())
    write_settings(plan.steps[0])
    return plan


def play(plan: Plan, member: int, slurm: StandIn, reaper: kills.Reaper, to_come: Path) -> int:
    """One member to its end, as Slurm and a person would see to it; how often it was started. The moments of
    the kills that are to come are kept in a file."""
    starts, job, restart = 0, 100, 0
    words = [sys.executable, "-m", "stair.submit.supervise", str(RunDir(Path(plan.run)).plan), "eval"]
    deadline = time.monotonic() + PATIENCE_S
    while True:
        place = {
            "SLURM_ARRAY_JOB_ID": str(job),
            "SLURM_ARRAY_TASK_ID": str(member),
            "SLURM_RESTART_COUNT": str(restart),
            "PYTHONPATH": str(kills.ROOT),
        }
        process = subprocess.Popen(words, env=slurm.environment(**place), stderr=subprocess.DEVNULL)
        starts += 1
        while process.poll() is None:
            assert time.monotonic() < deadline
            before = len(reaper.planned)
            reaper.strike()
            if len(reaper.planned) < before:
                write_json(to_come, [moment for moment, _ in reaper.planned])
            time.sleep(0.02)
        if process.returncode == 0:
            return starts
        assert process.returncode in (75, -9), f"a member gave up: {process.returncode}"
        if process.returncode == 75:  # requeued
            restart += 1
        else:  # its supervisor was killed: a person sends it again
            job, restart = job + 1, 0


@pytest.mark.slow
def test_an_array_that_is_killed_at_six_moments_ends_like_the_undisturbed_run(tmp_path, monkeypatch):
    server, to_come = tmp_path / "server.py", tmp_path / "to-come.json"
    run = kills.Array(Cluster(tmp_path, 0), tmp_path, EPISODES, MEMBERS).run
    server.write_text(SERVER.format(root=str(kills.ROOT), run=str(run.path), to_come=str(to_come)))
    monkeypatch.setattr(kills, "SERVER", server)
    peace = kills.play_in_peace(tmp_path, EPISODES)
    assert {one.success for one in peace} == {True, False}
    plan = planned(tmp_path)
    reaper = kills.Reaper(RunDir(Path(plan.run)), EPISODES, 6, seed=1, until=0.5)
    assert {way for _, way in reaper.planned} >= {"simulator", "server", "supervisor"}
    write_json(to_come, [moment for moment, _ in reaper.planned])
    slurm = StandIn(tmp_path / "bin")
    starts = sum(play(plan, member, slurm, reaper, to_come) for member in range(MEMBERS))
    rows = kills.compare(peace, RunDir(Path(plan.run)), EPISODES)
    assert [row for row in rows if not row.holds] == []
    assert reaper.struck.total() == 6
    assert starts > MEMBERS


def test_a_comparison_sees_what_was_lost_doubled_or_changed(tmp_path):
    run = RunDir(tmp_path)
    peace = [record(number) for number in range(4)]
    for one in [*peace[:3], peace[2]]:
        append_record(run.episodes, one)
    append_record(run.episodes, replace(peace[1], steps=peace[1].steps + 1))
    seen = {row.what: row.seen for row in kills.compare(peace, run, 4)}
    assert seen["episodes on record"] == 3
    assert seen["lost: in the undisturbed run only"] == 1
    assert seen["lines that hold an episode a second time"] == 2
    assert seen["episodes that differ in anything but times"] == [peace[1].key, peace[3].key]
    assert len(read_records(run.episodes)) == 3


def test_processes_are_known_by_what_they_do_for_this_run():
    def process(pid: int, *words: str) -> Process:
        return Process(pid, "python", words, "")

    run = "/runs/a"
    evaluation = process(os.getpid(), sys.executable, "-m", "stair.evaluate", "--run", run)
    everyone = {os.getpid(): evaluation}
    words = [
        ("server", (sys.executable, str(kills.SERVER), "--address_file", f"{run}/members/0.address")),
        ("evaluation", evaluation.argv),
        ("supervisor", (sys.executable, "-m", "stair.submit.supervise", f"{run}/plan.json", "array")),
        ("node", (sys.executable, "-m", "stair.submit.node", f"{run}/plan.json", "array")),
        ("", ("srun", sys.executable, "-m", "stair.submit.node", f"{run}/plan.json", "array")),
        ("", (sys.executable, "-m", "stair.evaluate", "--run", "/runs/b")),
    ]
    for kind, argv in words:
        assert kills.what_is_it(process(1, *argv), everyone, run) == kind
    child = subprocess.Popen([sys.executable, "-c", "input()", "spawn_main"], stdin=subprocess.PIPE)
    try:
        spawned = process(child.pid, sys.executable, "-c", "from multiprocessing.spawn import spawn_main")
        assert kills.what_is_it(spawned, everyone, run) == "simulator"
        assert kills.what_is_it(spawned, {}, run) == ""
    finally:
        child.kill()
        child.wait()


def test_kills_are_drawn_with_a_seed_and_shared_among_the_ways(tmp_path):
    one, same, other = (kills.Reaper(RunDir(tmp_path), 2000, 100, seed) for seed in (0, 0, 1))
    assert one.planned == same.planned != other.planned
    assert Counter(way for _, way in one.planned) == dict(zip(kills.WAYS, kills.SHARES, strict=True))
    assert max(moment for moment, _ in one.planned) < 2000
