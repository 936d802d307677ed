"""Every reason that Slurm documents is explained in plain words."""

from __future__ import annotations

from pathlib import Path

import pytest

from stair.cluster.pending import DESCRIPTIONS, REASONS, explain

CODES = (Path(__file__).parent / "recorded_jobs" / "reason-codes").read_text().split()
"""All names of job_reason_codes.html and job_state_reason.c, 22.05 to 25.05."""


def test_the_table_has_more_than_fifty_codes_and_the_list_all_of_them():
    assert len(REASONS) > 50
    assert len(CODES) > 180
    assert not set(REASONS) - set(CODES) - {"RaisedSignal", "FrontEndDown"}


@pytest.mark.parametrize("code", CODES)
def test_every_documented_code_is_explained(code: str):
    found = explain(code, "12")
    assert "Slurm says" not in found.means
    assert code not in found.means
    assert "JOB" not in found.cure


@pytest.mark.parametrize(
    ("reason", "means", "stuck"),
    [
        ("QOSMaxJobsPerUserLimit", "you have reached the jobs at once that its QOS allows", False),
        (
            "AssocGrpGRES",
            "everybody's jobs together have reached the GPUs or other GRES of your account's association",
            False,
        ),
        (
            "AssocGrpCPURunMinutesLimit",
            "everybody's jobs together have reached the minutes of cores of running jobs",
            False,
        ),
        ("QOSMaxGRESPerNode", "it asks for more GPUs or other GRES than its QOS allows for a node", True),
        ("QOSMinGRES", "it asks for fewer GPUs or other GRES than its QOS demands", True),
        (
            "MaxNodePerAccount",
            "your account has reached the nodes that its QOS allows an account",
            False,
        ),
        ("QOSMaxWallDurationPerJobLimit", "it asks for more wall time than its QOS allows for a job", True),
        ("Priority", "others are before it in the queue", False),
        ("DependencyNeverSatisfied", "a job that it waits for did not end well", True),
        ("", "Slurm has not looked at it yet", False),
        ("(Resources)", "it is next", False),
    ],
)
def test_limits_are_put_together_from_their_parts(reason: str, means: str, stuck: bool):
    found = explain(reason)
    assert found.means.startswith(means)
    assert found.stuck is stuck


def test_sentences_that_slurm_prints_instead_of_a_code_are_understood():
    assert "n3,n[7-9]" in explain("ReqNodeNotAvail, UnavailableNodes:n3,n[7-9]").means
    assert "reservation" in explain("ReqNodeNotAvail, May be reserved for other job").means
    assert "maintenance" in explain("ReqNodeNotAvail, Reserved for maintenance").means
    held = explain("launch failed requeued held", "12")
    assert held == explain("launch_failed_requeued_held", "12")
    assert "`scontrol release 12`" in held.cure
    assert held.stuck
    assert all(part == part.lower() for part in DESCRIPTIONS)


def test_an_unknown_reason_is_told_with_a_way_to_find_out():
    found = explain("SolarEclipse", "12")
    assert found.means == "Slurm says 'SolarEclipse'"
    assert "scontrol show job 12" in found.cure
