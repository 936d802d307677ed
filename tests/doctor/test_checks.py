"""Facts become findings: each fault alone is named by its id, with a cure."""

from __future__ import annotations

import pytest

from stair.doctor.checks import diagnose
from stair.doctor.finding import Finding, exit_code
from tests.doctor.facts import HEALTHY, broken, without_gpu

HUNG = {"found": True, "timed_out": 60.0}


def asking(facts) -> dict[str, str]:
    """Id → level of everything that wants attention."""
    return {f.id: f.level for f in diagnose(facts) if f.level not in ("fine", "note")}


def test_a_healthy_node_asks_for_nothing():
    findings = diagnose(HEALTHY)
    assert {finding.level for finding in findings} == {"fine"}
    assert exit_code(findings) == 0


def test_a_machine_without_gpu_vulkan_apptainer_and_slurm_is_no_patient():
    nothing = {"loader": {"fine": False, "error": "no such file"}, "named_by_variable": False, "icds": []}
    facts = without_gpu(vulkan=nothing, apptainer={"found": False}, slurm={"found": False})
    assert asking(facts) == {}
    assert exit_code(diagnose(facts)) == 0


@pytest.mark.parametrize(
    ("changes", "id", "level"),
    [
        ({"python__version": [3, 9, 2]}, "python.version", "error"),
        ({"python__version": [3, 13, 0]}, "python.version", "error"),
        ({"stair": {"found": True, "code": 1, "err": "No module named 'stair'"}}, "stair.version", "error"),
        ({"stair": HUNG}, "stair.version", "unknown"),
        ({"torch": HUNG}, "torch.import", "unknown"),
        ({"torch": {"found": True, "code": 1, "err": "No module named 'torch'"}}, "torch.import", "warning"),
        ({"torch": {"found": True, "code": -11, "err": ""}}, "torch.import", "error"),
        ({"torch__cuda": False}, "torch.cuda", "error"),
        ({"nvidia__devices": []}, "gpu.devices", "error"),
        ({"nvidia__smi": {"found": False}}, "gpu.smi", "warning"),
        ({"nvidia__smi": HUNG}, "gpu.smi", "error"),
        (
            {"nvidia__smi": {"found": True, "code": 18, "out": "Driver/library version mismatch", "err": ""}},
            "gpu.mismatch",
            "error",
        ),
        ({"vulkan__loader": {"fine": False, "error": "absent"}}, "vulkan.loader", "warning"),
        ({"vulkan__icds": []}, "vulkan.no-icd", "error"),
        ({"nvidia__egl_vendors": []}, "egl.no-nvidia-vendor", "warning"),
        ({"apptainer__line": "apptainer version 1.3.6"}, "apptainer.version", "warning"),
        (
            {"apptainer": {"found": True, "code": 1, "line": "", "err": "broken"}},
            "apptainer.version",
            "error",
        ),
        ({"apptainer": HUNG}, "apptainer.version", "unknown"),
        ({"slurm": {"found": True, "code": 1, "line": "", "err": "no conf"}}, "slurm.client", "error"),
        ({"slurm": HUNG}, "slurm.client", "unknown"),
        ({"shm__free_gb": 0.06}, "shm", "warning"),
    ],
)
def test_each_fault_is_found(changes, id: str, level: str):
    assert asking(broken(**changes)).get(id) == level


@pytest.mark.parametrize(
    ("disk", "level"),
    [
        ({"free_gb": 0.2}, "error"),
        ({"free_gb": 5.0}, "warning"),
        ({"writable": False}, "error"),
        ({"error": "stale handle"}, "unknown"),
    ],
)
def test_disks_without_room_are_found(disk, level: str):
    facts = broken(disk=[{**HEALTHY["disk"][0], **disk}])
    assert asking(facts) == {"disk.run-folder": level}


def test_hidden_gpus_are_told_from_a_cpu_build():
    hidden = broken(torch__cuda=False, variables={"CUDA_VISIBLE_DEVICES": ""})
    cpu_build = broken(torch__cuda=False, torch__built_for=None)
    cures = [next(f.cure for f in diagnose(facts) if f.id == "torch.cuda") for facts in (hidden, cpu_build)]
    assert "CUDA_VISIBLE_DEVICES" in cures[0]
    assert "CPU" in cures[1]


ICD = HEALTHY["vulkan"]["icds"][0]


@pytest.mark.parametrize(
    ("icd", "id"),
    [
        ({"exists": False}, "vulkan.icd-missing"),
        ({"size": 0}, "vulkan.icd-empty"),
        ({"broken": "JSONDecodeError: line 1"}, "vulkan.icd-broken"),
        ({"api_version": None}, "vulkan.icd-no-api-version"),
        ({"api_version": "1.0.5"}, "vulkan.icd-api-version"),
        ({"loads": {"fine": False, "error": "libGLX_nvidia.so.0: cannot open"}}, "vulkan.icd-library"),
    ],
)
def test_each_fault_of_a_vulkan_driver_file_is_found(icd, id: str):
    assert asking(broken(vulkan__icds=[{**ICD, **icd}])) == {id: "error"}


def test_a_bad_driver_file_among_good_ones_is_a_warning_unless_the_loader_stops_there():
    mesa = {**ICD, "path": "/usr/share/vulkan/icd.d/lvp.json"}
    missing = broken(vulkan__icds=[ICD, {**mesa, "exists": False}])
    malformed = broken(vulkan__icds=[ICD, {**mesa, "broken": "JSONDecodeError"}])
    assert asking(missing) == {"vulkan.icd-missing": "warning"}
    assert asking(malformed) == {"vulkan.icd-broken": "error"}


def test_a_gpu_with_only_mesa_driver_files_is_found():
    mesa = {**ICD, "path": "/usr/share/vulkan/icd.d/lvp_icd.json"}
    assert asking(broken(vulkan__icds=[mesa])) == {"vulkan.no-nvidia-icd": "error"}


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, False),
        ({"VK_DRIVER_FILES": "/a", "VK_ICD_FILENAMES": "/a"}, False),
        ({"VK_ICD_FILENAMES": "/a"}, False),
        ({"VK_DRIVER_FILES": "/a", "VK_ICD_FILENAMES": "/b"}, True),
        ({"VK_DRIVER_FILES": "/a"}, True),
    ],
)
def test_the_two_vulkan_variables_are_compared(variables, found: bool):
    assert ("vulkan.variables" in asking(broken(variables=variables))) is found


def test_every_finding_that_asks_says_what_it_means_and_what_cures_it():
    nothing: dict = {"loader": {"fine": False, "error": "x"}, "named_by_variable": False, "icds": []}
    for facts in (broken(vulkan=nothing, torch__cuda=False), broken(python__version=[3, 9, 0])):
        for finding in diagnose(facts):
            if finding.level in ("error", "warning"):
                assert finding.means, finding.id
                assert finding.cure, finding.id


@pytest.mark.parametrize(
    ("levels", "code"),
    [(["fine", "note", "warning"], 0), (["unknown", "fine"], 3), (["unknown", "error"], 1), ([], 0)],
)
def test_exit_codes(levels, code: int):
    assert exit_code([Finding("x", level, "") for level in levels]) == code
