"""The words of stair-doctor and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stair import console
from stair.doctor.cli import main
from tests.doctor.facts import HEALTHY, broken


def call(*words: str) -> int:
    return console.run_command(lambda: main(words))


@pytest.mark.parametrize(
    ("facts", "code", "shown"),
    [
        (HEALTHY, 0, "nothing to cure"),
        (broken(torch__cuda=False), 1, "error torch.cuda"),
        (broken(slurm={"found": True, "timed_out": 5.0}), 3, "unknown slurm.client"),
    ],
)
def test_recorded_facts_are_judged(facts, code: int, shown: str, tmp_path: Path, capsys):
    file = tmp_path / "facts.json"
    file.write_text(json.dumps(facts))
    assert call("--facts", str(file)) == code
    assert shown in capsys.readouterr().out


def test_json_holds_facts_and_findings_of_this_machine(tmp_path: Path, capsys):
    code = call("--json", "--run-folder", str(tmp_path / "runs"))
    shown = json.loads(capsys.readouterr().out)
    assert code in (0, 1)
    assert shown["facts"]["stair"]["version"]
    assert {"python.version", "disk.run-folder"} <= {finding["id"] for finding in shown["findings"]}


def test_facts_that_are_none_are_an_expected_failure(tmp_path: Path, capsys):
    assert call("--facts", str(tmp_path / "absent.json")) == 1
    assert capsys.readouterr().err.count("\n") == 2
