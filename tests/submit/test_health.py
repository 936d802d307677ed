"""The doctor's look at a node: beside the step, never in its way, and once more where it failed."""

from __future__ import annotations

import json
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from stair.doctor.finding import Finding
from stair.doctor.record import as_tree
from stair.doctor.visit import Visit
from stair.rundir import RunDir, write_json
from stair.submit import health
from stair.submit.child import read_last_words
from stair.submit.health import Look, Place, lines, run_watched
from stair.submit.plan import Step
from stair.submit.stepping import Stop
from stair.submit.verdict import Ending
from tests.processes import wait_for
from tests.submit.scripted import WAIT_S, a_plan, a_step

DENIED = Finding(
    "driver.node-denied", "error", "/dev/nvidia0: denied", "no CUDA", "make it 0666", "chmod 666"
)


@pytest.fixture
def step(tmp_path: Path) -> Step:
    step = a_step(tmp_path / "run", "one", "pass")
    run = RunDir(tmp_path / "run").create()
    run.plan.write_text(replace(a_plan(run.path, step), executor="slurm").text())
    return step


def place(step: Step, job: str = "12", **more: str) -> Place:
    run = RunDir(Path(step.folder).parent)
    run.logs.mkdir(exist_ok=True)
    return Place(run, job, 1, "n3", run.logs / "one.log", {**os.environ, **more})


def lasts(here: Place, ending: Ending) -> Ending:
    """A step that goes on until its node has been looked at."""
    wait_for(lambda: here.run.fact_sheet("12", 1, "n3").exists())
    return ending


def test_the_sheet_of_the_node_and_its_findings_are_left_in_the_run_folder(step: Step):
    here = place(step, SLURM_JOB_ID="12")
    ending = run_watched(step, here, Stop(patient=True), lambda: lasts(here, Ending("done")))
    (file,) = (here.run.path / "doctor").iterdir()
    assert file.name == "12-1-n3.json"
    tree = json.loads(file.read_text())
    (visit,) = tree["visits"]
    assert (visit["name"], visit["role"], visit["host"]["probe"]) == ("n3", "compute", 2)
    assert visit["host"]["host"] == socket.gethostname()
    assert visit["request"]["kind"] == "", "it runs in no image"
    found = [one["id"] for one in tree["findings"] if one["level"] in ("error", "warning")]
    assert list(ending.findings) == found
    said = here.log.read_text() if here.log.exists() else ""
    assert all(f"[{id}]" in said for id in found)


def test_members_of_an_array_share_the_sheet_of_their_node_for_a_restart(step: Step):
    here = place(step, "12_3")
    run_watched(step, here, Stop(patient=True), lambda: lasts(here, Ending("done")))
    (file,) = (here.run.path / "doctor").iterdir()
    assert file.name == "12-1-n3.json"
    before = file.stat().st_mtime_ns
    run_watched(step, replace(here, job="12_4"), Stop(patient=True), lambda: Ending("done"))
    assert [one.stat().st_mtime_ns for one in (here.run.path / "doctor").iterdir()] == [before]


def test_a_step_that_failed_is_looked_at_again_and_wrong_use_is_not(step: Step, monkeypatch):
    monkeypatch.setattr(health, "PATIENCE_ALONE_S", WAIT_S)
    here = place(step)
    run_watched(step, here, Stop(patient=True), lambda: lasts(here, Ending("fatal", code=2)))
    assert [file.name for file in (here.run.path / "doctor").iterdir()] == ["12-1-n3.json"]
    run_watched(step, here, Stop(patient=True), lambda: Ending("fatal", code=1))
    assert (here.run.path / "doctor" / "12-1-n3-end.json").exists()


def test_a_run_folder_that_cannot_be_written_costs_the_sheet_only(step: Step):
    here = place(step)
    (here.run.path / "doctor").write_text("in the way")
    assert run_watched(step, here, Stop(patient=True), lambda: Ending("done")) == Ending("done")


def test_a_look_that_takes_too_long_is_ended_and_nothing_is_known(step: Step, tmp_path: Path):
    slow = tmp_path / "slow" / "stair"
    slow.mkdir(parents=True)
    (slow / "__init__.py").write_text("import time; time.sleep(3600)")
    here = place(step, PYTHONPATH=str(slow.parent), PYTHONSAFEPATH="1")
    look = Look(step, here, here.run.fact_sheet("12", 1, "n3"))
    assert look.end(0.3) == ()
    assert look.process is not None
    assert look.process.returncode == -signal.SIGKILL


def test_what_an_evaluation_saw_inside_its_image_is_judged_together_with_the_host(step: Step, monkeypatch):
    monkeypatch.setattr(health, "PATIENCE_ALONE_S", WAIT_S)
    sheet = {"probe": 2, "inside": "apptainer", "image": {"labels": {"stair.kind": "eval"}}}
    drawing = RunDir(Path(step.folder)).drawing_sheet(0)

    def evaluate() -> Ending:
        write_json(drawing, as_tree(Visit("n3", image=sheet), ()))
        return Ending("retryable", "node", "exit 3: nothing", code=3)

    here = place(step)
    run_watched(step, here, Stop(patient=True), evaluate)
    tree = json.loads((here.run.path / "doctor" / "12-1-n3-end.json").read_text())
    assert tree["visits"][0]["image"] == sheet
    assert tree["visits"][0]["host"]["probe"] == 2
    run_watched(step, here, Stop(patient=True), lambda: Ending("fatal", code=1))
    assert not drawing.exists(), "what an earlier attempt saw counts no more"


def test_a_step_that_was_told_to_leave_is_not_kept_waiting(step: Step, monkeypatch):
    stop = Stop(patient=True)
    stop.asked = 1
    here = place(step)
    waits = []
    end = Look.end
    monkeypatch.setattr(Look, "end", lambda look, patience_s: (waits.append(patience_s), end(look, 0.0))[1])
    run_watched(step, here, stop, lambda: Ending("fatal", code=1))
    assert waits == [0.0]
    assert not (here.run.path / "doctor" / "12-1-n3-end.json").exists()


def test_the_log_is_told_errors_and_warnings_and_those_are_nobodys_last_words():
    note = Finding("apptainer.old", "note", "1.3")
    told = list(lines([DENIED, note]))
    assert told == [
        "── doctor: error: /dev/nvidia0: denied: no CUDA [driver.node-denied]",
        "──   try: make it 0666: chmod 666",
    ]
    assert read_last_words(["loading the model", *told]).what == "loading the model"
    assert read_last_words(told).what == "it said nothing"
