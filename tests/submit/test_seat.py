"""Where a supervisor sits, by the variables of a batch job."""

from __future__ import annotations

import pytest

from stair.errors import UsageError
from stair.submit.seat import read_seat

JOB = {"SLURM_JOB_ID": "12", "SLURM_JOB_NODELIST": "n[1-2],gpu-[008-009]"}


def test_a_job_is_called_by_its_number():
    seat = read_seat({**JOB, "SLURM_RESTART_COUNT": "2"})
    assert (seat.job, seat.raw, seat.index, seat.restart) == ("12", "12", None, 2)
    assert seat.nodes == ("n1", "n2", "gpu-008", "gpu-009")
    assert read_seat(JOB).restart == 0


@pytest.mark.parametrize("raw", ["12", "15"])
def test_a_member_is_called_by_array_and_index_also_where_its_own_number_is_that_of_the_array(raw: str):
    member = {**JOB, "SLURM_JOB_ID": raw, "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "0"}
    seat = read_seat(member)
    assert (seat.job, seat.raw, seat.index) == ("12_0", raw, 0)


def test_outside_of_a_batch_job_there_is_no_seat():
    with pytest.raises(UsageError, match="SLURM_JOB_NODELIST is not set"):
        read_seat({"SLURM_JOB_ID": "12"})
