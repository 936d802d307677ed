"""Words, variables, names and paths arrive through a real Slurm as they were meant, whatever they are."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from stair.rundir import RunDir
from stair.submit.plan import Batch
from stair.submit.script import Option, batch_script, file_pattern
from stair.submit.sending import send_batch
from tests.slurm.live import LiveSlurm
from tests.submit.hostile import draw_cases, draw_line, joined, read_witness, write_witness
from tools.devslurm.system import wait_until


@pytest.fixture(autouse=True)
def here(slurm: LiveSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own process speaks to the cluster."""
    monkeypatch.setenv("SLURM_CONF", str(slurm.slurm_conf))
    monkeypatch.setenv("SLURM_JOB_ID", "1")  # as if submitted from inside of a job


def send(run: Path, script: str, *words: str) -> str:
    return send_batch(Batch("hostile", "hostile", script, (), False), words, RunDir(run))


def wait_for_all(slurm: LiveSlurm, timeout_s: float = 300.0) -> None:
    """Waits until no job is left."""
    assert wait_until(lambda: not slurm.jobs(), timeout_s, 0.2), slurm.jobs()


def test_a_thousand_hostile_commands_and_variables_arrive_through_sbatch_and_srun(
    slurm: LiveSlurm, tmp_path: Path
):
    meant = [joined(draw_cases(50, seed)) for seed in range(20)]
    witness = str(write_witness(tmp_path))
    for number, case in enumerate(meant):
        command = ["srun", "--ntasks=1", "--export=ALL", witness, str(len(case.argv)), *case.argv]
        environment = {**case.environment, "WITNESS": str(tmp_path / f"got-{number}")}
        options: list[Option] = [("ntasks", "1"), ("output", str(tmp_path / "log-%j")), ("time", "5")]
        send(tmp_path, batch_script(options, command, environment=environment))
    wait_for_all(slurm)
    logs = "".join(path.read_text() for path in tmp_path.glob("log-*"))
    assert [len(list(tmp_path.glob("got-*"))), logs] == [len(meant), ""]
    for number, case in enumerate(meant):
        assert read_witness(tmp_path / f"got-{number}") == [case]


def test_forty_hostile_names_and_run_folders_arrive(slurm: LiveSlurm, tmp_path: Path):
    random, meant = Random(1), {}
    for number in range(40):
        name = draw_line(random)
        run = tmp_path / (f"{number}" + draw_line(random).replace("/", "").replace("\\", ""))
        run.mkdir()
        options: list[Option] = [
            ("job-name", name),
            ("output", file_pattern(str(run)) + "/%j.log"),
            ("chdir", str(run)),
            ("time", "5"),
        ]
        command = ["sh", "-c", 'printf %s "$SLURM_JOB_NAME" > "$1"; pwd; ', "sh", str(run / "name")]
        meant[send(run, batch_script(options, command))] = (name, run)
    wait_for_all(slurm)
    for job, (name, run) in meant.items():
        assert (run / f"{job}.log").read_bytes() == f"{run}\n".encode()
        assert (run / "name").read_bytes() == name.encode()
        assert sorted(path.name for path in run.iterdir()) == sorted([f"{job}.log", "logs", "name"])
    assert sorted(tmp_path.iterdir()) == sorted(run for _, run in meant.values())
