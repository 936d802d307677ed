"""A request becomes sbatch options."""

from __future__ import annotations

import pytest

from stair.errors import UsageError
from stair.submit.options import DECIDED, Request, sbatch_options


def test_options_stand_in_a_fixed_order_and_what_was_not_asked_for_is_left_out():
    assert sbatch_options(Request("stage1")) == (
        ("job-name", "stage1"),
        ("nodes", "1"),
        ("ntasks-per-node", "1"),
        ("cpus-per-task", "1"),
        ("time", "60"),
        ("signal", "B:USR2@120"),
        ("requeue", None),
    )


def test_everything_that_can_be_asked_for():
    request = Request(
        "stage1",
        job_name="run.stage1",
        nodes=4,
        cores=32,
        mem_gb=480.5,
        gpus=8,
        gres="gpu:h100",
        hours=1.51,
        partition="gpu",
        account="robots",
        qos="quick",
        constraint="[h100|h200]",
        reservation="course",
        exclude=("a1", "b[2-3]"),
        warn_s=300,
        options=("--licenses=x:2", "--exclusive"),
    )
    options = dict(sbatch_options(request, log="/runs/x/%j.log", cwd="/home/ada"))
    assert options == {
        "job-name": "run.stage1",
        "partition": "gpu",
        "account": "robots",
        "qos": "quick",
        "reservation": "course",
        "constraint": "[h100|h200]",
        "exclude": "a1,b[2-3]",
        "nodes": "4",
        "ntasks-per-node": "1",
        "cpus-per-task": "32",
        "mem": "492032M",
        "gres": "gpu:h100:8",
        "time": "91",
        "signal": "B:USR2@300",
        "requeue": None,
        "open-mode": "append",
        "output": "/runs/x/%j.log",
        "chdir": "/home/ada",
        "licenses": "x:2",
        "exclusive": None,
    }


@pytest.mark.parametrize(
    ("hours", "minutes"), [(1, 60), (1 / 60, 1), (0.1, 6), (0.3, 18), (0.001, 1), (0, 0), (72, 4320)]
)
def test_hours_become_whole_minutes_upwards(hours: float, minutes: int):
    assert Request("a", hours=hours).minutes == minutes


@pytest.mark.parametrize("option", sorted(DECIDED))
def test_a_profile_may_not_set_what_the_plan_decides(option: str):
    with pytest.raises(UsageError, match=f"--{option} is decided") as failure:
        sbatch_options(Request("a", options=(f"--{option}=1",)))
    assert DECIDED[option] in failure.value.hint


@pytest.mark.parametrize("word", ["licenses=x", "-L x", "--", "--licenses x"])
def test_what_is_no_option_is_refused(word: str):
    with pytest.raises(UsageError, match="is no option"):
        sbatch_options(Request("a", options=(word,)))


def test_flags_carry_the_name_of_the_step_unless_it_is_alone():
    assert Request("stage1").flag("nodes") == "--stage1.resources.nodes"
    assert Request("stage1", alone=True).flag("nodes") == "--resources.nodes"
