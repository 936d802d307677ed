"""The dry run is what slurmctld stores, byte for byte: recipes, overrides, profiles and run folders drawn at
random go through the real planner twice, with --dry and for good. Drained nodes let nothing start."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from stair.cluster.ledger import read_sent
from stair.rundir import RunDir
from stair.submit.cli import main
from tests.slurm.live import LiveSlurm
from tests.submit.hostile import draw_line

SUBMISSIONS = 18
SCRIPTS = 50
"""At least so many come of them."""
FOLDERS = (
    "a b",
    "it's",
    'say "x"',
    "$(id)",
    "`id`; rm -rf x",
    "50% %j %A",
    "#SBATCH --hold",
    "é漢字",
    "&& ~",
)
OPTIONS = (
    "--nice=7",
    "--licenses=simulator:1",
    '--mail-user=o\'brien "$(id)" # no comment',
    "--begin=now+2hours",
    "--spread-job",
    "--exclusive",
)


@dataclass(frozen=True)
class Case:
    """The words of one submission, and where it goes."""

    words: tuple[str, ...]
    run: Path


@pytest.fixture
def drained(slurm: LiveSlurm, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveSlurm]:
    """A cluster that takes jobs and starts none."""
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GREETING", "hello")
    names = f"NodeName={','.join(node.name for node in slurm.cluster.nodes)}"
    slurm.run("scontrol", "update", names, "State=DRAIN", "Reason=test")
    yield slurm
    slurm.run("scancel", "--user=root")


def draw_case(random: Random, number: int, folder: Path) -> Case:
    """One submission that the cluster takes, as varied as it can be."""
    profile = folder / f"{number}.profile.yaml"
    profile.write_text(yaml.safe_dump(draw_profile(random)))
    hostile = FOLDERS[number % len(FOLDERS)] + draw_line(random).replace("/", "").replace("\\", "")
    run = folder / f"{number}{hostile}"
    words = ("--cluster", str(profile), "--run", str(run))
    hours = ("--hours", str(random.choice([0.01, 0.2, 1 / 3, 0.5])))
    if number % 3 == 0:
        recipe = random.choice(["pipeline", "smoke"])
        nodes = ("--nodes", str(random.randint(1, 2)), "--processes", str(random.randint(1, 2)))
        members = ("--eval.resources.members", str(random.choice([1, 2, 16])))
        return Case((recipe, *words, *hours, *nodes, *members), run)
    file = folder / f"{number} recipe.yaml"
    file.write_text(yaml.safe_dump(draw_commands(random, alone=number % 3 == 1, long=number % 9 == 1)))
    return Case((str(file), *words, *hours), run)


def draw_profile(random: Random) -> dict[str, Any]:
    wanted = {
        "partition": random.choice(["", "train", "eval", "h100", "train,eval"]),
        "account": random.choice(["", "lab"]),
        "qos": random.choice(["", "normal", "high", "low"]),
        "constraint": random.choice(["", "ib", "h100|a100", "h100&ib"]),
        "exclude": random.choice([[], ["n4"], ["n[3-4]"]]),
        "mem_gb": random.choice([0, 0.5, 2]),
        "cores_per_process": random.randint(1, 2),
        "warn_s": random.choice([0, 60, 300]),
        "parallel_members": random.choice([1, 8, 64]),
        "options": random.sample(OPTIONS, random.randrange(3)),
    }
    keep = random.sample(["GREETING", "WANDB_MODE", "NCCL_DEBUG"], random.randrange(3))
    return {"executor": "slurm", "gpus_per_node": 4, "slurm": wanted, "container": {"keep": keep}}


def draw_commands(random: Random, *, alone: bool, long: bool) -> dict[str, Any]:
    """A recipe of commands: one of them, maybe in thousands of members, or a chain with an array in it."""

    def command(members: int) -> dict[str, Any]:
        resources = {"members": members, "cores": random.randint(1, 3), "gpus": random.randrange(3)}
        argv = ["echo", draw_line(random), "{member}", "{run}"]
        return {"kind": "command", "image": "none", "argv": argv, "resources": resources}

    if alone:
        return command(random.choice([1001, 1002, 2500]) if long else random.choice([1, 7, 40]))
    names = ["fetch", "work_1", "gather"][: random.randint(2, 3)]
    return {"kind": "chain", "steps": {name: command(random.choice([1, 5])) for name in names}}


def test_every_stored_script_is_the_one_that_was_shown(
    drained: LiveSlurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    random, stored, parts = Random(20), 0, set()
    for number in range(SUBMISSIONS):
        case = draw_case(random, number, tmp_path)
        assert main([*case.words, "--dry", "--json"]) == 0
        shown = capsys.readouterr().out
        assert not case.run.exists()
        assert main(case.words) == 0
        capsys.readouterr()
        assert RunDir(case.run).plan.read_text() == shown
        batches, sent = json.loads(shown)["batches"], read_sent(RunDir(case.run))
        assert [line.batch for line in sent] == [batch["name"] for batch in batches]
        for line, batch in zip(sent, batches, strict=True):
            file = tmp_path / "stored"
            drained.run("scontrol", "write", "batch_script", line.job, str(file))
            assert file.read_bytes() == batch["script"].encode()
        stored += len(batches)
        parts.add(max(sum(batch["step"] == b["step"] for b in batches) for batch in batches))
    assert not drained.run("squeue", "--noheader", "--states=running,completing")
    assert stored >= SCRIPTS
    assert parts == {1, 2, 3}, "some arrays are longer than MaxArraySize"
