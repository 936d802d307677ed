"""What Slurm's variables say was granted, and what a request is held against."""

from __future__ import annotations

import pytest

from stair.doctor.checks import diagnose
from stair.doctor.findings.job import cores_of_task, memory_of, several_nodes
from stair.doctor.visit import Visit
from tests.doctor import sheets

HOST = sheets.base("gpu-host")
ASKED = {"gpus_per_node": 2, "cpus": 16, "memory_mb": 128_000, "minutes": 60, "minutes_left": 60}


def in_job(variables: dict | None = None, **job: str) -> dict:
    slurm = {**HOST["slurm"], "job": {"id": "1", **job}}
    return {**HOST, "slurm": slurm, "variables": variables or {}}


@pytest.mark.parametrize(
    ("variables", "cores"),
    [
        ({}, 16),
        ({"SLURM_CPUS_PER_TASK": "4"}, 4),
        ({"SLURM_TASKS_PER_NODE": "2(x2)"}, 8),
        ({"SLURM_TASKS_PER_NODE": "4,2"}, 4),
        ({"SLURM_TASKS_PER_NODE": "4", "SLURM_STEP_TASKS_PER_NODE": "1"}, 16),
        ({"SLURM_CPUS_PER_TASK": "32"}, 16),
    ],
)
def test_a_tasks_cores_are_its_share_of_the_node(variables, cores: int):
    assert cores_of_task(in_job(variables, cpus="16")) == cores


def test_outside_a_job_nothing_was_granted():
    assert cores_of_task(sheets.base("cpu-host")) is None
    assert memory_of(sheets.base("cpu-host")) is None


def test_memory_is_granted_by_node_or_by_core():
    assert memory_of(in_job(cpus="4", memory_mb="9000")) == 9000
    assert memory_of(in_job({"SLURM_MEM_PER_CPU": "500"}, cpus="4")) == 2000
    assert memory_of(in_job(cpus="4", memory_mb="0")) is None


@pytest.mark.parametrize(
    ("nodes", "several"), [("n1", False), ("n[1-2]", True), ("n1,m3", True), (None, False)]
)
def test_a_node_list_tells_one_node_from_several(nodes, several: bool):
    assert several_nodes(in_job(nodes=nodes)) is several


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, set()),
        ({"gpus_per_node": 3}, {"request.gpus"}),
        ({"cpus": 17}, {"request.cpus"}),
        ({"memory_mb": 256_000}, {"request.memory"}),
        ({"memory_mb": 130_000}, set()),
        ({"minutes_left": 20}, {"request.minutes"}),
        ({"minutes_left": 55}, set()),
        ({"minutes_left": None}, set()),
    ],
)
def test_each_thing_that_is_less_than_asked_for_is_named(changes, expected: set[str]):
    found = diagnose([Visit("n1", "compute", HOST, request={**ASKED, **changes})])
    assert {finding.id for finding in found} == expected


def test_a_login_node_is_not_asked_for_what_a_job_shall_get():
    request = {**ASKED, "gpus_per_node": 8, "cpus": 64}
    assert not diagnose([Visit("login", "login", sheets.base("cpu-host"), request=request)])


def test_one_gpu_for_policy_and_simulator_is_a_warning_and_two_are_none():
    request = {**ASKED, "gpus_per_node": 1, "kind": "eval", "render": "nvidia", "layout": "colocated"}
    one = {**HOST, "cuda": {**HOST["cuda"], "devices": HOST["cuda"]["devices"][:1]}}
    one.update(
        nvml={**HOST["nvml"], "gpus": HOST["nvml"]["gpus"][:1]}, variables={"CUDA_VISIBLE_DEVICES": "0"}
    )
    one["slurm"] = {**HOST["slurm"], "job": {"id": "1", "gpus": "1"}}
    one["driver"] = {**HOST["driver"], "gpus": HOST["driver"]["gpus"][:1]}
    assert "request.one-gpu" in {f.id for f in diagnose([Visit("n1", "compute", one, request=request)])}
    assert "request.one-gpu" not in {f.id for f in diagnose([Visit("n1", "compute", HOST, request=request)])}
