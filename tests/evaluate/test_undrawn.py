"""An evaluation that cannot draw ends with the first cause and its cure, and leaves what was seen."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from stair.doctor.record import read_findings
from stair.evaluate import evaluation, undrawn
from stair.evaluate.config import EvalConfig
from stair.evaluate.workers import DiedStarting
from stair.rundir import RunDir
from stair.sim.render import CannotDraw
from tests.containers.baked import CHECKOUT
from tests.containers.eval_image import EvalImage, eval_image  # noqa: F401
from tests.fakes.scripted_server import ScriptedPolicy
from tests.fakes.serving import serving


@pytest.fixture
def config(tmp_path: Path) -> EvalConfig:
    run = RunDir(tmp_path / "run").create()
    return EvalConfig(simulator="maniskill3", render="cpu", run=str(run.path), shard=3, shards=5)


def test_the_cause_takes_the_place_of_the_symptom_which_is_said_before(config, monkeypatch, capsys):
    icd = Path(config.run) / "lvp_icd.json"
    icd.write_text('{"ICD": {"api_version": "1.4.0", "library_path": "/gone/libvulkan_lvp.so"}}')
    for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        monkeypatch.setenv(name, str(icd))
    monkeypatch.setattr(undrawn, "choose_driver", lambda choice: choice)  # the machine's own may be well
    symptom = CannotDraw("drawing on 'cpu' died of SIGSEGV", hint="stair-doctor")
    told = undrawn.explained(symptom, config)
    assert isinstance(told, CannotDraw)
    assert told.exit_code == 3
    assert "nothing could be drawn: drawing on 'cpu' died of SIGSEGV" in capsys.readouterr().err
    sheet = RunDir(Path(config.run)).drawing_sheet(3)
    first = read_findings(sheet)[0]
    assert first.id.startswith(("vulkan.", "libraries."))
    assert told.what.endswith(f"[{first.id}]")
    assert first.cure in told.hint
    (visit,) = json.loads(sheet.read_text())["visits"]
    assert visit["host"]["vulkan"]["named_by"]
    assert visit["request"]["render"] == "cpu"


def test_where_the_doctor_fails_or_finds_nothing_the_symptom_stays(config, monkeypatch, capsys):
    symptom = CannotDraw("the picture is constant", hint="h")
    monkeypatch.setattr(undrawn, "choose_driver", lambda choice: choice)  # it sets this process's environment

    def broken(visit: object) -> None:
        raise RuntimeError("a bug of the doctor's")

    monkeypatch.setattr("stair.doctor.record.judge", broken)
    assert undrawn.explained(symptom, config) is symptom
    assert "stair-doctor could not look: RuntimeError: a bug" in capsys.readouterr().err
    monkeypatch.setattr("stair.doctor.record.judge", lambda visit: ())
    assert undrawn.explained(symptom, config) is symptom


@pytest.mark.parametrize("kind", [CannotDraw, DiedStarting])
def test_a_renderer_that_kills_its_processes_is_asked_about_too(config, monkeypatch, kind):
    def dies(config: EvalConfig) -> None:
        raise kind("3 simulator processes died while starting, the last: killed by SIGSEGV")

    cause = CannotDraw("a driver file leads to nothing [vulkan.icd-library]", hint="mend it")
    monkeypatch.setattr(evaluation, "_evaluate", dies)
    monkeypatch.setattr(evaluation, "explained", lambda error, config: cause)
    with pytest.raises(CannotDraw, match=r"\[vulkan.icd-library\]"):
        evaluation.evaluate(config)
    with pytest.raises(kind, match="SIGSEGV"):
        evaluation.evaluate(replace(config, simulator="tabletop"))


def test_in_the_image_a_broken_driver_file_is_named_at_the_end_without_a_stack_trace(
    eval_image: EvalImage,  # noqa: F811
    tmp_path: Path,
):
    icds, run = tmp_path / "icd", tmp_path / "run"
    shutil.copytree(CHECKOUT / "containers" / "icd", icds)
    broken = {"api_version": "1.4.0", "library_path": "/usr/lib/libvulkan_lvp_gone.so"}
    (icds / "lvp_icd.json").write_text(json.dumps({"ICD": broken}))
    run.mkdir()
    with serving(ScriptedPolicy()) as address:
        words = ["--simulator", "maniskill3", "--tasks", "[maniskill_pick_cube]", "--render", "cpu"]
        mounts = [f"{CHECKOUT}/stair:/opt/stair/src/stair:ro", f"{icds}:/opt/stair/icd:ro", f"{run}:{run}"]
        done = subprocess.run(
            [
                *(str(eval_image.apptainer), "exec", "--cleanenv", "--no-home", "--bind", ",".join(mounts)),
                *(str(eval_image.path), "python", "-m", "stair.evaluate", "--policy", address),
                *("--run", str(run), *words),
            ],
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 3, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    *_, error, cure = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert "libvulkan_lvp_gone.so" in error
    assert "[vulkan.icd-library]" in error
    assert cure.startswith("  try: ")
    findings = read_findings(RunDir(run).drawing_sheet(0))
    assert (findings[0].id, findings[0].place) == ("vulkan.icd-library", "image")
    assert findings[0].command or findings[0].cure
