"""Driver files beside one another: what the fault sheets do not show."""

from __future__ import annotations

from typing import Any

import pytest

from stair.doctor.finding import Finding
from stair.doctor.findings.vulkan_icds import CHECKS, FAULTS
from tests.doctor import sheets

LACKS = {"loads": False, "error": "libdrm_amdgpu.so.1: cannot open", "missing": "libdrm_amdgpu.so.1"}


def image(*icds: dict[str, Any], devices: bool = True) -> dict[str, Any]:
    """The healthy evaluation image, with driver files beside its own."""
    whole = sheets.base("eval-image")
    whole["vulkan"]["icds"] += [{**whole["vulkan"]["icds"][0], **icd} for icd in icds]
    if not devices:
        whole["vulkan"]["devices"] = []
    return whole


def found(facts: dict[str, Any]) -> list[Finding]:
    return [finding for check in CHECKS for finding in check.judge(facts)]


def test_a_bad_file_beside_a_good_one_is_a_warning():
    radeon = {"path": "/usr/share/vulkan/icd.d/radeon_icd.json", "library": "libvulkan_radeon.so"}
    (finding,) = found(image({**radeon, "loads": LACKS, "devices": None}))
    assert (finding.id, finding.level) == ("vulkan.icd-dependency", "warning")


def test_mesas_files_for_hardware_that_is_not_there_are_as_they_should_be():
    assert (
        found(image({"path": "/usr/share/vulkan/icd.d/radeon_icd.json", "library": "x.so", "devices": []}))
        == []
    )


def test_a_file_over_which_the_loader_gives_up_is_an_error_beside_a_good_one():
    broken = {
        "path": "/etc/vulkan/icd.d/half.json",
        "broken": "Expecting value",
        "library": None,
        "devices": None,
    }
    (finding,) = found(image(broken, devices=False))
    assert (finding.id, finding.level) == ("vulkan.icd-broken", "error")
    (finding,) = found(image(broken, devices=True))  # newer loaders pass it over
    assert finding.level == "warning"


def test_nvidias_file_is_no_news_where_the_cpu_was_chosen():
    lacking = {"path": "/opt/stair/icd/nvidia_icd.json", "library": "libGLX_nvidia.so.0", "loads": LACKS}
    facts = {**image({**lacking, "devices": None}), "request": {"render": "cpu"}}
    assert found(facts) == []


def test_the_command_names_a_file_that_works_where_a_variable_names_a_bad_one():
    whole = sheets.base("gpu-image")
    icd = {**whole["vulkan"]["icds"][0], "path": "/gone.json", "exists": False, "devices": None}
    (finding,) = found({**whole, "vulkan": {**whole["vulkan"], "icds": [icd], "devices": []}})
    ours = "/opt/stair/icd/nvidia_icd.json"
    assert finding.command == f"export VK_DRIVER_FILES={ours} VK_ICD_FILENAMES={ours}"


def test_paths_with_spaces_are_quoted_in_commands():
    (finding,) = found(image({"path": "/a b.json", "api_version": None}))
    assert finding.command.endswith("'/a b.json'")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_a_file_of_which_nothing_is_known_has_no_fault(fault):
    assert not fault.holds({"path": "/x.json", "exists": True, "api_version": "1.3.0"})
