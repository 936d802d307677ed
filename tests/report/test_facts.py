"""Reading a run folder: what is there counts, what is missing or broken is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stair.cluster.ledger import Sent, record_sent
from stair.errors import StairError
from stair.report.facts import Cancelled, NoSuchRun, read_evidence
from stair.rundir import RunDir, write_json
from stair.submit.plan import Plan
from tests.report.runs import NOW, an_attempt, ended, mark_done, write_ledger, write_metrics, write_run
from tests.submit.scripted import a_plan, a_step

STEPS = ({"name": "stage1"}, {"name": "eval", "kind": "eval", "needs": ["stage1"], "members": 4})


def test_everything_a_folder_knows_is_read(tmp_path: Path):
    run = write_run(tmp_path, *STEPS)
    write_ledger(
        run,
        (Sent("stage1", "stage1", "12", time=NOW), Sent("eval", "eval", "20", (0, 1, 2, 3), time=NOW)),
        (an_attempt(), ended("done"), an_attempt("20_1", "eval"), an_attempt("20_2", "eval")),
    )
    mark_done(tmp_path / "stage1", 33.0)
    write_json(tmp_path / "eval" / "members" / "00001.json", {})
    (tmp_path / "eval" / "members" / "1.address").touch()
    write_metrics(tmp_path / "stage1", 1)
    found = read_evidence(tmp_path)
    assert [step.name for step in found.run.steps] == ["stage1", "eval"]
    assert found.done == {"stage1": {None: 33.0}, "eval": {1: 0.0}}
    assert [found.is_finished(step) for step in found.run.steps] == [True, False]
    assert len(found.sent) == 2
    # The attempts of finished members are not opened: there may be thousands.
    assert set(found.attempts) == {("stage1", None), ("eval", 2)}
    assert found.progress["stage1"].done == 1
    assert found.newest > NOW


def test_an_attempt_is_read_as_its_last_line_has_it(tmp_path: Path):
    run = write_run(tmp_path, {"name": "stage1"})
    write_ledger(run, (), (an_attempt(), ended("fatal", why="x")))
    (attempt,) = read_evidence(tmp_path).attempts["stage1", None]
    assert (attempt.verdict, attempt.why) == ("fatal", "x")


def test_the_plan_is_read_as_the_sender_writes_it(tmp_path: Path):
    plan: Plan = a_plan(tmp_path, a_step(tmp_path, "one", "", steps=5))
    RunDir(tmp_path).plan.write_text(plan.text())
    found = read_evidence(tmp_path).run
    assert (found.recipe, found.executor, found.steps[0].name) == ("scripted", "local", "one")
    assert found.steps[0].folder == tmp_path / "one"
    assert found.steps[0].settings == {"train": {"steps": 5}}


def test_what_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(NoSuchRun, match="no run folder") as caught:
        read_evidence(tmp_path / "nowhere")
    assert caught.value.exit_code == 2
    with pytest.raises(NoSuchRun, match="nothing was submitted"):
        read_evidence(tmp_path)
    (tmp_path / "plan.json").write_text("[]")
    with pytest.raises(NoSuchRun, match="is no plan"):
        read_evidence(tmp_path)


def test_a_damaged_record_is_named(tmp_path: Path):
    run = write_run(tmp_path, {"name": "stage1"})
    record_sent(run, Sent("stage1", "stage1", "12"))
    with (tmp_path / "jobs.jsonl").open("a") as file:
        file.write("{half\n")
    with pytest.raises(StairError, match="is damaged"):
        read_evidence(tmp_path)


def test_the_cancelled_marker_counts_whatever_it_says(tmp_path: Path):
    write_run(tmp_path, {"name": "stage1"})
    assert read_evidence(tmp_path).cancelled is None
    (tmp_path / "cancelled").touch()
    assert read_evidence(tmp_path).cancelled == Cancelled("somebody", "")
    (tmp_path / "cancelled").write_text(json.dumps({"who": "ann", "when": "noon"}))
    assert read_evidence(tmp_path).cancelled == Cancelled("ann", "noon")
