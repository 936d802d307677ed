"""Loader, variables and the set of driver files: what the fault sheets do not show."""

from __future__ import annotations

from typing import Any

from stair.doctor.finding import Finding
from stair.doctor.findings.linker import leave_out
from stair.doctor.findings.vulkan_files import CHECKS
from tests.doctor import sheets


def found(facts: dict[str, Any]) -> list[Finding]:
    return [finding for check in CHECKS for finding in check.judge(facts)]


def image(version: str, **variables: str) -> dict[str, Any]:
    """The healthy evaluation image with another loader and other variables."""
    whole = sheets.base("eval-image")
    whole["vulkan"]["loader"]["version"] = version
    return {**whole, "variables": variables}


def test_a_loader_before_vulkan_1_1_is_too_old():
    (finding,) = found(image("1.0.68"))
    assert (finding.id, finding.level) == ("vulkan.loader-old", "error")


def test_loaders_before_1_3_207_know_one_variable_only():
    file = "/opt/stair/icd/lvp_icd.json"
    assert (
        found(image("1.3.206", VK_ICD_FILENAMES=file)) == found(image("1.3.207", VK_DRIVER_FILES=file)) == []
    )
    (finding,) = found(image("1.3.206", VK_DRIVER_FILES=file))
    assert (finding.id, finding.level) == ("vulkan.variables", "warning")
    assert finding.command == f"export VK_DRIVER_FILES={file} VK_ICD_FILENAMES={file}"


def test_variables_that_contradict_are_a_warning_where_something_draws_all_the_same():
    (finding,) = found(image("1.4.309", VK_DRIVER_FILES="/a.json", VK_ICD_FILENAMES="/b.json"))
    assert (finding.id, finding.level) == ("vulkan.variables", "warning")


def test_a_node_that_draws_nothing_may_lack_everything():
    host = sheets.base("cpu-host")
    host["vulkan"].update(icds=[], devices=[], loader={"loads": False, "error": "not there"})
    assert found(host) == []
    assert found({**host, "request": {"render": "cpu"}}) != []


def test_a_training_image_needs_no_driver_file():
    train = sheets.base("gpu-image")
    train["image"]["labels"]["stair.kind"] = "train"
    train["vulkan"].update(icds=[], devices=[], loader={"loads": False, "error": "not there"})
    assert found(train) == []


def test_a_folder_is_left_out_of_the_path_and_the_drivers_own_stays():
    facts = {"variables": {"LD_LIBRARY_PATH": "/conda/lib:/.singularity.d/libs"}}
    assert leave_out(facts, "/conda/lib") == "export LD_LIBRARY_PATH=/.singularity.d/libs"
    assert leave_out({"variables": {"LD_LIBRARY_PATH": "/a b"}}, "/a b") == "unset LD_LIBRARY_PATH"
