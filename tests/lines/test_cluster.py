"""The submission line from end to end on a real Slurm and in a real image, as a person uses it: from a folder
that is no checkout, with secrets in the shell that must not leave it."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from stair.cluster.ledger import read_sent
from stair.rundir import RunDir
from tests.containers.train_image import TrainImage
from tests.lines.spy import Spy
from tests.slurm.live import LiveSlurm
from tests.slurm.person import Person

pytestmark = pytest.mark.slow

CANARY, KEPT = f"canary-{uuid.uuid4().hex}", f"kept-{uuid.uuid4().hex}"
"""In the shell of the one who submits, under names that are not to be kept; and in the user's own secrets,
under one that is. New ones every time: what stands in this file may stand in a diff of the checkout."""
SMALL = [
    *("--collect.collect.episodes", "4"),
    *("--stage1.train.steps", "2", "--stage1.train.data.batch_size", "4"),
    *("--stage2.train.steps", "2", "--stage2.train.data.batch_size", "4"),
    *("--eval.eval.episodes", "2", "--eval.eval.workers", "1", "--eval.resources.members", "2"),
]
STEPS = ["collect", "stage1", "stage2", "eval", "report"]


@dataclass(frozen=True)
class Pipeliner(Person):
    """Somebody who runs the whole pipeline."""

    def pipes(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.calls("stair-submit", "pipeline", "--cluster", "devcluster", *SMALL, *words)

    @property
    def run(self) -> RunDir:
        return RunDir(self.folder / "runs" / "pipeline")


@dataclass(frozen=True)
class Told:
    """What the commands of one whole run said, and what a spy saw meanwhile."""

    person: Pipeliner
    dry: subprocess.CompletedProcess[str]
    refused: Mapping[str, subprocess.CompletedProcess[str]]
    sent: subprocess.CompletedProcess[str]
    shown: str
    """Every job as scontrol shows it just after it was sent: five minutes after its end it is forgotten."""
    watched: subprocess.CompletedProcess[str]
    spy: Spy

    @property
    def all(self) -> str:
        commands = (self.dry, self.sent, self.watched)
        return "".join(done.stdout + done.stderr for done in commands)


@pytest.fixture(scope="module")
def person(slurm: LiveSlurm, train_image: TrainImage, tmp_path_factory: pytest.TempPathFactory) -> Pipeliner:
    folder = tmp_path_factory.mktemp("work")
    image = str(train_image.path)
    profile = {
        "executor": "slurm",
        "gpus_per_node": 0,
        "slurm": {"partition": "train", "mem_gb": 1.9, "warn_s": 90},
        "network": {"interface": "eth0"},
        "container": {"train_image": image, "eval_image": image, "keep": ["MY_TOKEN", "GREETING"]},
    }
    (folder / "slurm").mkdir()
    (folder / "slurm" / "devcluster.yaml").write_text(yaml.safe_dump(profile))
    secrets = folder / "home" / ".config" / "stair" / "secrets.env"
    secrets.parent.mkdir(parents=True)
    secrets.touch(0o600)
    secrets.write_text(f"MY_TOKEN={KEPT}\nNOT_ASKED_FOR={CANARY}\n")
    shell = {**slurm.environment, "HOME": str(folder / "home"), "GREETING": "hello there"}
    return Pipeliner(folder, {**shell, "WANDB_API_KEY": CANARY, "MY_TOKEN": CANARY, "SBATCH_COMMENT": CANARY})


@pytest.fixture(scope="module")
def told(slurm: LiveSlurm, person: Pipeliner) -> Told:
    """One run from its dry run to its report, by the real commands."""
    dry = person.pipes("--dry", "--json")
    assert dry.returncode == 0, dry.stderr
    leaks = ["--stage1.train.tracking.wandb_project", "--eval.model"]
    refused = {flag: person.pipes(flag, f"/data/{CANARY}/x") for flag in leaks}
    assert not person.run.path.exists()
    with Spy(slurm.cluster) as spy:
        sent = person.pipes()
        assert sent.returncode == 0, sent.stderr
        jobs = [line.job for line in read_sent(person.run)]
        shown = "".join(slurm.run("scontrol", "show", "job", "-d", job) for job in jobs)
        watched = person.calls("stair-report", "runs/pipeline", "--watch")
    return Told(person, dry, refused, sent, shown, watched, spy)


def test_the_pipeline_trains_on_two_nodes_evaluates_as_an_array_and_reports(told: Told):
    assert told.watched.returncode == 0, told.watched.stdout + told.watched.stderr
    run = told.person.run
    status = json.loads(told.person.calls("stair-report", "runs/pipeline", "--json").stdout)
    assert {step["name"]: step["state"] for step in status["steps"]} == dict.fromkeys(STEPS, "done")
    assert [task["episodes"] for task in status["evaluations"][0]["tasks"]] == [2]
    for stage in ("stage1", "stage2"):
        logs = [path.relative_to(run.logs).parts for path in run.logs.glob(f"{stage}-ranks/**/stdout.log")]
        ranks = sorted((parts[1].rpartition("-")[2], parts[-2]) for parts in logs)
        assert ranks == [("node0", "0"), ("node0", "1"), ("node1", "0"), ("node1", "1")]
        assert RunDir(run.path / stage).latest_checkpoint() is not None
    assert len(list((run.path / "eval" / "members").glob("0000[01].json"))) == 2
    assert "<html" in run.report("html").read_text()
    assert f"report: {Path('runs/pipeline/report.html')}" in told.watched.stdout


def test_the_dry_run_is_the_plan_that_was_sent_byte_for_byte(told: Told):
    assert told.person.run.plan.read_text() == told.dry.stdout


def test_repeating_the_command_sends_nothing(told: Told):
    before = read_sent(told.person.run)
    again = told.person.pipes()
    assert again.returncode == 0
    assert "nothing to send" in again.stderr
    assert read_sent(told.person.run) == before
    assert [line.step for line in before] == STEPS


def test_a_secret_of_the_shell_is_nowhere(told: Told, slurm: LiveSlurm):
    run, jobs = told.person.run, [line.job for line in read_sent(told.person.run)]
    texts = {
        "argv": b"\n".join(told.spy.argvs()).decode(errors="replace"),
        "what commands said": told.all,
        "scontrol": told.shown + slurm.run("scontrol", "show", "job", "-d"),
        "squeue": slurm.run("squeue", "--states=all", "--json"),
        "sacct": slurm.run("sacct", "--jobs", ",".join(jobs), "--parsable2", "--format=ALL"),
    }
    for job in jobs:
        assert f"JobId={job} " in texts["scontrol"]
    assert any(b"stair.train.rank" in argv for argv in told.spy.argvs())
    for value in (CANARY, KEPT):
        assert [name for name, text in texts.items() if value in text] == []
        for folder in (run.path, *(slurm.root / name for name in ("state", "spool", "log"))):
            assert any(folder.rglob("*"))
            found = subprocess.run(["grep", "-rlaF", "--", value, folder], capture_output=True, timeout=120)
            assert found.stdout.decode() == ""
    assert told.spy.argvs_with(CANARY) == []


def test_a_kept_secret_reaches_what_runs_inside_the_image_and_nobody_else(told: Told):
    inside = told.spy.argvs_with(f"MY_TOKEN={KEPT}")
    for module in (b"stair.collect", b"stair.train.rank", b"stair.serve", b"stair.evaluate"):
        assert [argv for argv in inside if b"-m " + module in argv], module
    outside = (b"slurmstepd", b"srun", b"stair.submit.")
    assert not [argv for argv in inside if argv.startswith(outside) or b"-m stair.submit." in argv]
    kept = told.spy.argvs_with("GREETING=hello there")
    assert [argv for argv in kept if b"stair.train.rank" in argv]


def test_a_secret_in_a_flag_is_refused_before_anything_is_written(told: Told):
    for flag, done in told.refused.items():
        assert done.returncode == 2, flag
        assert f"'{flag.removeprefix('--')}' contains the value of " in done.stderr
        assert CANARY not in done.stdout + done.stderr
