"""Devices: what the fault sheets do not show."""

from __future__ import annotations

from typing import Any

from stair.doctor.finding import Finding
from stair.doctor.findings.vulkan_devices import CHECKS
from tests.doctor import sheets


def found(facts: dict[str, Any]) -> list[Finding]:
    return [finding for check in CHECKS for finding in check.judge(facts)]


def test_gpus_are_the_same_by_where_they_sit_or_by_uuid():
    image = sheets.base("gpu-image")
    for device in image["vulkan"]["devices"]:
        device["pci"] = device["pci"].upper().replace("0000:", "00000000:")
    assert found(image) == []
    for device in image["vulkan"]["devices"]:
        device["pci"] = None
    assert found(image) == []
    image["vulkan"]["devices"][0]["uuid"] = "0" * 32
    (finding,) = found(image)
    assert "0000:17:00.0 does not draw" in finding.seen


def test_more_gpus_in_vulkan_than_in_cuda_are_a_note_on_cuda_visible_devices():
    image = sheets.base("gpu-image")
    image["cuda"]["devices"] = image["cuda"]["devices"][:1]
    (finding,) = found(image)
    assert (finding.id, finding.level) == ("vulkan.device-count", "note")


def test_the_cpu_is_missed_where_it_was_asked_to_draw():
    (finding,) = found({**sheets.base("gpu-image"), "request": {"kind": "eval", "render": "cpu"}})
    assert finding.id == "vulkan.no-cpu-device"
    assert finding.command.endswith("VK_ICD_FILENAMES=/opt/stair/icd/lvp_icd.json")


def test_a_device_that_one_sapien_cannot_use_is_named_with_what_it_lacks():
    image = sheets.base("eval-image")
    image["vulkan"]["devices"][0]["lacks"]["sapien2"] = ["VK_KHR_external_semaphore_fd"]
    (finding,) = found(image)
    assert "VK_KHR_external_semaphore_fd, which SAPIEN 2 demands" in finding.seen
    image["image"]["labels"]["stair.variant"] = "ms3"
    assert found(image) == []


def test_an_instance_that_cannot_be_made_is_told_with_the_loaders_last_words():
    image = sheets.base("eval-image")
    image["vulkan"].update(
        devices=[], instance={"code": -9, "name": "VK_ERROR_INCOMPATIBLE_DRIVER"}, said="a\nb b\n"
    )
    (finding,) = found(image)
    assert finding.seen == "vkCreateInstance says VK_ERROR_INCOMPATIBLE_DRIVER; the loader's last words: b b"
    assert "createInstanceUnique: ErrorIncompatibleDriver" in finding.means
