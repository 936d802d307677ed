"""What a step asks for, as the doctor is told it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from stair.submit.asked import image_file, request_of
from tests.submit.scripted import a_plan, a_step


def test_the_request_is_what_the_plan_asked_for(tmp_path: Path):
    step = a_step(tmp_path, "one", "pass")
    asked = replace(step, kind="eval", gpus=2, cores=8, mem_gb=1.0, hours=0.5, layout="split")
    asked = replace(asked, settings={"eval": {"simulator": "maniskill3", "render": ""}})
    asked = replace(asked, argv=("apptainer", "exec", "x.sif", "true"))
    soon = {"SLURM_JOB_END_TIME": str(int(time.time()) + 630)}
    assert request_of(asked, soon) == {
        "gpus_per_node": 2,
        "cpus": 8,
        "memory_mb": 1024,
        "minutes": 30,
        "kind": "eval",
        "render": "nvidia",
        "layout": "split",
        "minutes_left": 10,
    }
    plain = replace(asked, settings={"eval": {"simulator": "tabletop", "render": ""}})
    assert request_of(plain, {})["render"] == ""
    assert request_of(plain, {})["minutes_left"] is None


def test_only_a_step_that_runs_in_an_image_has_a_file_to_look_at(tmp_path: Path):
    step = a_step(tmp_path, "one", "pass")
    image = str(tmp_path / "x.sif")
    inside = replace(step, argv=("apptainer", "exec", image, "true"))
    plan = replace(a_plan(tmp_path, step, inside), images={image: "sha"})
    assert image_file(plan, step) is None
    found = image_file(plan, inside)
    assert found is not None
    assert found["trouble"] == "missing"
