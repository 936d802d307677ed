"""All checks together: their order, the places they are put to, and what is asked of them by name."""

from __future__ import annotations

import pytest

from stair.doctor.checks import ALL, because, diagnose
from stair.doctor.finding import Check, Comparison, fold
from stair.doctor.visit import Visit
from stair.errors import UsageError
from tests.doctor import sheets

HOST, IMAGE = sheets.base("gpu-host"), sheets.base("gpu-image")
TINY = {**HOST["shm"], "free_mb": 60, "total_mb": 64}
LOST = {"code": 15, "error": "GPU is lost", "version": None, "gpus": []}
NO_CUDA = {"code": 999, "error": "CUDA_ERROR_UNKNOWN", "driver_api": None, "devices": []}


def test_ids_are_unique_and_named_after_their_room():
    ids = [check.id for check in ALL]
    assert len(ids) == len(set(ids))
    assert all(check.about and len(check.id.split(".")) == 2 for check in ALL)


def test_whatever_explains_a_finding_is_a_check_that_comes_before_it():
    """Or one of the host, where this one is put to the image or to both."""
    for number, check in enumerate(ALL):
        beyond = isinstance(check, Comparison) or check.where != "host"
        for cause in check.because:
            known = [
                other
                for place, other in enumerate(ALL)
                if (other.id == cause or (cause[-1] in ".-" and other.id.startswith(cause)))
                and (place < number or (beyond and isinstance(other, Check) and other.where != "image"))
            ]
            assert known, f"{check.id} because of {cause}"


def test_a_lost_gpu_explains_that_cuda_fails_and_that_the_node_differs():
    broken = {**HOST, "nvml": LOST, "cuda": NO_CUDA, "driver": {**HOST["driver"], "gpus": []}}
    visits = [Visit(f"n{i}", "compute", broken if i == 2 else HOST) for i in (1, 2, 3)]
    (cause,) = fold(diagnose(visits), because())
    assert (cause.cause.id, cause.cause.place) == ("driver.gpu-lost", "n2")
    assert {"cuda.init", "nodes.gpus"} <= {finding.id for finding in cause.consequences}


def test_what_an_image_shares_with_its_host_is_said_once():
    host, image = {**HOST, "shm": TINY, "nvml": LOST}, {**IMAGE, "shm": TINY, "nvml": LOST}
    places = {finding.id: finding.place for finding in diagnose([Visit("n1", "compute", host, image)])}
    assert places["shm.small"] == places["driver.gpu-lost"] == "n1"
    assert sum(f.id == "shm.small" for f in diagnose([Visit("n1", "compute", host, image)])) == 1


def test_an_image_alone_is_judged_too():
    (finding,) = diagnose([Visit("n1", "compute", None, {**IMAGE, "shm": TINY})])
    assert (finding.id, finding.place) == ("shm.small", "image on n1")


@pytest.mark.parametrize(
    ("role", "host", "image"),
    [("here", "", "image"), ("compute", "n1", "image on n1"), ("login", "n1", "image on n1")],
)
def test_places_are_named_after_the_node_but_this_machine_is_not(role: str, host: str, image: str):
    python = {"version": [3, 9, 2], "executable": "/usr/bin/python3", "packages": {}}
    found = diagnose([Visit("n1", role, {**HOST, "python": python}, {**IMAGE, "python": python})])
    assert [finding.place for finding in found if finding.id == "python.version"] == [host, image]


def test_only_what_is_asked_for_is_checked_by_id_or_by_room():
    sheet = {**HOST, "shm": TINY, "cuda": NO_CUDA, "limits": {"nofile": [64, 64]}}
    visits = [Visit("n1", "compute", sheet)]
    assert {"shm.small", "cuda.init", "limits.nofile"} <= {finding.id for finding in diagnose(visits)}
    assert [finding.id for finding in diagnose(visits, ["shm.small"])] == ["shm.small"]
    assert [finding.id for finding in diagnose(visits, ["limits", "cuda."])] == ["limits.nofile", "cuda.init"]


def test_an_unknown_check_answers_with_the_nearest_known_one():
    with pytest.raises(UsageError, match=r"shm\.small"):
        diagnose([], ["shm.smal"])


def test_a_fault_that_nobody_minds_is_none():
    """A machine without GPU, Slurm and Apptainer, of which nothing is asked, is no patient."""
    host = sheets.base("cpu-host")
    bare = {
        "apptainer": {"found": False},
        "slurm": {"found": False, "job": {}},
        "nvoptix": None,
        "egl": {"vendors": []},
    }
    visit = Visit("n1", "here", {**host, **bare})
    assert not [finding for finding in diagnose([visit]) if finding.level != "note"]


@pytest.mark.parametrize(
    ("request_", "level"),
    [
        (None, "error"),
        ({"gpus_per_node": 0, "render": ""}, "error"),
        ({"gpus_per_node": 0, "render": "cpu"}, "warning"),
        ({"gpus_per_node": 1, "render": "cpu"}, "error"),
    ],
)
def test_a_broken_gpu_is_a_warning_where_a_job_was_asked_to_do_without(request_, level: str):
    found = diagnose([Visit("n1", "compute", {**HOST, "nvml": LOST}, request=request_)])
    assert [finding.level for finding in found if finding.id == "driver.gpu-lost"] == [level]


def test_gpus_of_a_login_node_are_nobodys_business():
    login = {**HOST, "nvml": LOST, "cuda": NO_CUDA, "slurm": {**HOST["slurm"], "job": {}}}
    request = {"gpus_per_node": 8, "render": "nvidia"}
    assert not [
        f
        for f in diagnose([Visit("l", "login", login, request=request)])
        if f.id[:3] in ("dri", "gpu", "cud")
    ]


def test_the_first_cause_comes_first_though_a_later_one_is_as_bad():
    sheet = {**HOST, "cuda": NO_CUDA, "nvml": {"failed": "timeout", "how": "timeout"}}
    first, *_ = fold(diagnose([Visit("n1", "compute", sheet)]), because())
    assert first.cause.id == "driver.hangs"
    assert [finding.id for finding in first.consequences] == ["cuda.init"]
