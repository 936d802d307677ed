"""Libraries: what the fault sheets do not show."""

from __future__ import annotations

from typing import Any

from stair.doctor.checks import diagnose
from stair.doctor.finding import Finding
from stair.doctor.findings.libraries import CHECKS
from stair.doctor.visit import Visit
from tests.doctor import sheets

GONE = {"loads": False, "path": None, "version": None, "missing": ""}


def found(facts: dict[str, Any]) -> list[Finding]:
    return [finding for check in CHECKS for finding in check.judge(facts)]


def changed(base: str, starts: str, **more: Any) -> dict[str, Any]:
    """A base in which the libraries whose names begin so read otherwise."""
    whole = sheets.base(base)
    for entry in whole["libraries"]:
        if entry["name"].startswith(starts):
            entry.update(more)
    return whole


def test_libraries_that_gave_no_answer_are_unknown_once_and_not_missing():
    (finding,) = found(changed("eval-image", "lib", **GONE, error="timeout"))
    assert (finding.id, finding.level) == ("libraries.no-answer", "unknown")


def test_drivers_before_545_have_no_gpucomp():
    facts = changed("gpu-host", "libnvidia-gpucomp", **GONE, error="not found")
    assert [finding.id for finding in found(facts)] == ["libraries.nvidia-companions"]
    facts["driver"]["version"] = "535.183.01"
    for entry in facts["libraries"]:
        entry["version"] = entry["version"] and "535.183.01"
    assert found(facts) == []


def test_a_training_image_needs_no_graphics():
    facts = changed("gpu-image", ("libGLX", "libEGL", "libX11", "libGL."), **GONE, error="not found")  # type: ignore[arg-type]
    facts["image"]["labels"]["stair.kind"] = "train"
    assert found(facts) == []


def test_what_the_host_lacks_is_told_of_the_host_only():
    host = changed("gpu-host", "libnvidia-glsi", **GONE, error="not found")
    inside = changed("gpu-image", "libnvidia-glsi", **GONE, error="not found")
    findings = diagnose([Visit("n1", "compute", host, inside)], only=["libraries"])
    assert [(finding.id, finding.place) for finding in findings] == [("libraries.nvidia-companions", "n1")]


def test_libraries_of_a_driver_that_was_updated_under_its_module_ask_for_a_reboot():
    facts = changed("gpu-host", ("libcuda", "libGLX_nvidia"), version="575.51.03")  # type: ignore[arg-type]
    (finding,) = found(facts)
    assert finding.id == "libraries.driver-version"
    assert "reboot" in finding.cure


def test_a_host_whose_images_draw_needs_no_x11():
    assert found(changed("cpu-host", "libX", **GONE, error="not found")) == []


def test_a_name_tells_no_version_and_cuda_compat_is_of_another_one_on_purpose():
    assert found(changed("gpu-image", "libcuda", version="1")) == []
    compat = {"version": "575.51.03", "path": "/usr/local/cuda/compat/libcuda.so.575.51.03"}
    assert found(changed("gpu-image", "libcuda", **compat)) == []
