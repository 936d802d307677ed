"""Batch scripts say to sbatch and to bash what was meant, whatever it is."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stair.errors import UsageError
from stair.submit.script import batch_script, file_pattern, read_options
from tests.submit.hostile import Case, draw_cases, joined, lines, read_witness, words, write_witness

TEXT = """\
#!/bin/bash
# demo: stage1
#SBATCH --job-name="my run.stage1"
#SBATCH --time=01:00:00
#SBATCH --requeue
#SBATCH --output="/runs/50%% \\"big\\"/logs/stage1-%j.log"
export PYTHONUNBUFFERED=1
export HOSTILE='$(id)'
exec -- python -m stair.submit.supervise '/runs/my run/plan.json' stage1
"""


def test_a_script_reads_like_one_written_by_hand():
    log = file_pattern('/runs/50% "big"/logs') + "/stage1-%j.log"
    options = [("job-name", "my run.stage1"), ("time", "01:00:00"), ("requeue", None), ("output", log)]
    command = ["python", "-m", "stair.submit.supervise", "/runs/my run/plan.json", "stage1"]
    environment = {"PYTHONUNBUFFERED": "1", "HOSTILE": "$(id)"}
    text = batch_script(options, command, environment=environment, comments=["demo: stage1"])
    assert text == TEXT


def test_twelve_hundred_hostile_commands_and_variables_arrive_through_bash(tmp_path: Path):
    meant = [joined(draw_cases(20, seed)) for seed in range(60)]
    witness = str(write_witness(tmp_path))
    for number, case in enumerate(meant):
        text = batch_script([], [witness, str(len(case.argv)), *case.argv], environment=case.environment)
        (tmp_path / f"{number}.sh").write_text(text, encoding="utf-8")
    subprocess.run(
        ["bash", "-c", f"for ((i=0; i<{len(meant)}; i++)); do bash $i.sh || exit 1; done"],
        env={"PATH": os.defpath, "WITNESS": str(tmp_path / "got")},
        cwd=tmp_path,
        check=True,
        timeout=60,
    )
    assert read_witness(tmp_path / "got") == meant


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(argv=st.lists(words, max_size=8), value=words)
def test_a_command_and_a_variable_arrive_through_bash(tmp_path: Path, argv: list[str], value: str):
    (tmp_path / "got").unlink(missing_ok=True)
    witness = str(write_witness(tmp_path))
    text = batch_script([], [witness, str(len(argv)), *argv], environment={"HOSTILE_": value})
    (tmp_path / "one.sh").write_text(text, encoding="utf-8")
    environment = {"PATH": os.defpath, "WITNESS": str(tmp_path / "got")}
    subprocess.run(["bash", str(tmp_path / "one.sh")], env=environment, check=True, timeout=60)
    assert read_witness(tmp_path / "got") == [Case(argv, {"HOSTILE_": value})]


@settings(max_examples=200)
@given(
    options=st.lists(
        st.tuples(st.from_regex(r"\A[a-z]{1,9}(-[a-z]{1,5})?\Z"), st.none() | lines), max_size=6
    ),
    comments=st.lists(words, max_size=3),
)
def test_options_are_read_back_as_they_were_given(options, comments):
    text = batch_script(options, ["true"], comments=[comment.replace("\udcff", "") for comment in comments])
    assert read_options(text) == options


def test_lines_after_the_header_are_no_options():
    text = batch_script([("time", "1")], ["echo", "x\n#SBATCH --time=2"])
    assert read_options(text + "#SBATCH --time=3\n") == [("time", "1")]


def test_a_comment_cannot_become_an_option():
    text = batch_script(
        [], ["true"], comments=["a\n#SBATCH --job-name=x", "PBS -N x", "\r#SBATCH --job-name=y"]
    )
    assert read_options(text) == []
    assert all(line == "#" or line.startswith("# ") for line in text.splitlines()[1:-1])


@pytest.mark.parametrize(
    ("options", "command", "environment", "said"),
    [
        ([("comment", "a\nb")], ["true"], {}, "a line break"),
        ([("comment", "a\0b")], ["true"], {}, "a NUL"),
        ([("comment", "\udc80")], ["true"], {}, "no text"),
        ([("job name", "x")], ["true"], {}, "no name of an sbatch option"),
        ([("-n", "x")], ["true"], {}, "no name of an sbatch option"),
        ([], ["true", "a\0"], {}, "a NUL"),
        ([], ["true", "\ud800"], {}, "no text"),
        ([], [], {}, "needs a command"),
        ([], ["true"], {"A B": "x"}, "no name of a variable"),
        ([], ["true"], {"A": "\0"}, "a NUL"),
    ],
)
def test_what_no_script_can_carry_is_refused(options, command, environment, said: str):
    with pytest.raises(UsageError, match=said):
        batch_script(options, command, environment=environment)


def test_a_backslash_in_a_log_path_is_refused_since_slurm_drops_it():
    with pytest.raises(UsageError, match="backslash"):
        file_pattern("/runs/a\\b")


@pytest.mark.parametrize("line", ['--comment="a', "--comment='a"])
def test_an_unmatched_quote_is_refused_like_sbatch_does(line: str):
    with pytest.raises(UsageError, match="unmatched"):
        read_options(f"#!/bin/bash\n#SBATCH {line}\n")
