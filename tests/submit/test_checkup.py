"""What the doctor says of this machine before anything is sent to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stair import console
from stair.submit import checkup
from stair.submit.checkup import check_machine, judge_machine, sections_of
from stair.submit.cli import main
from stair.submit.plan import Plan, Step
from stair.submit.preflight.paths import Seen, refuse_full
from tests.submit.scripted import WAIT_S, a_plan, a_step


def training(run: Path, device: str, gpus: int = 0) -> Plan:
    return a_plan(run, replace(a_step(run, "one", "pass", engine={"device": device}), gpus=gpus))


def evaluation(run: Path, simulator: str, render: str) -> Step:
    step = replace(a_step(run, "eval", "pass"), kind="eval")
    return replace(step, settings={"eval": {"simulator": simulator, "render": render}})


def sheet(**sections: object) -> dict[str, object]:
    return {"probe": 2, "inside": "", **sections}


def test_a_step_is_held_against_no_more_than_it_needs(tmp_path: Path):
    (small,) = training(tmp_path, "cpu").steps
    assert sections_of(small) == ()
    assert sections_of(evaluation(tmp_path, "tabletop", "")) == ()
    (large,) = training(tmp_path, "auto").steps
    assert sections_of(large) == ("disks", "memory", "shm", "limits")
    assert "driver" in sections_of(replace(large, gpus=1))
    drawn = sections_of(evaluation(tmp_path, "maniskill3", "cpu"))
    assert "vulkan" in drawn
    assert "driver" not in drawn
    assert {"vulkan", "driver"} < set(sections_of(evaluation(tmp_path, "maniskill3", "nvidia")))
    inside = replace(small, argv=("apptainer", "exec", "x.sif", "true"))
    assert sections_of(inside) == ("apptainer",)


def test_a_known_fatal_start_is_refused_in_the_words_of_the_finding(tmp_path: Path):
    plan = training(tmp_path, "cuda", gpus=2)
    driver = {"version": None, "text": None, "modules": [], "gpus": [], "nodes": []}
    verdict = judge_machine(plan, sheet(driver=driver, nvml=None))
    (refusal,) = verdict.refusals
    assert (refusal.id, refusal.step) == ("driver.absent", "one")
    said = str(verdict.error())
    assert "step one asks for this machine with 2 GPUs; the doctor sees: there is no NVIDIA driver" in said
    assert "[driver.absent]" in said
    assert "\n  try: " in said
    assert judge_machine(training(tmp_path, "cuda"), sheet(driver=driver, nvml=None)).refusals == ()


def test_what_is_no_error_and_what_could_not_be_looked_at_refuses_nothing(tmp_path: Path):
    failed = {"failed": "no answer within 3 s", "how": "timeout"}
    verdict = judge_machine(training(tmp_path, "cuda"), sheet(shm=failed, memory=failed, disks=failed))
    assert verdict.refusals == ()


def test_this_machine_is_fit_for_a_small_simulation_and_nothing_is_left_behind(tmp_path: Path):
    plan = training(tmp_path / "runs" / "new", "cpu")
    assert check_machine(plan).refusals == ()
    assert check_machine(training(tmp_path / "runs" / "new", "auto")).show == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (Seen(True, True, "/r", True, 10**6, 10**6), "only 1 MB fit"),
        (Seen(True, True, "/r", True, 10**12, 3), "only 3 more files fit"),
        (Seen(True, True, "/r", True, 10**12, None), ""),
        (Seen(True, True, "/r", False, 0, None), ""),
    ],
)
def test_a_full_disk_is_refused_whatever_is_to_be_written(seen: Seen, says: str):
    refusals = list(refuse_full("/r/run", seen))
    assert [refusal.id for refusal in refusals] == (["space"] if says else [])
    assert all(says in refusal.possible for refusal in refusals)


def test_stair_submit_sends_nothing_where_the_doctor_refuses(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(checkup, "PROBE_S", WAIT_S)
    (tmp_path / "gpu.yaml").write_text("executor: local\ngpus_per_node: 8\n")
    monkeypatch.chdir(tmp_path)
    words = ["stage1", "--cluster", "./gpu.yaml", "--processes", "8", "--run", str(tmp_path / "run")]
    if Path("/proc/driver/nvidia/version").exists():
        pytest.skip("this machine has a GPU")
    assert console.run_command(lambda: main(words)) == 2
    said = capsys.readouterr().err
    assert "[driver.absent]" in said
    assert "try: " in said
    assert not (tmp_path / "run").exists()
