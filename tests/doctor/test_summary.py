"""What a place is, in a few words."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from stair.doctor.summary import WORDED, differing, summarize, traits
from stair.doctor.visit import Visit
from tests.doctor import sheets


def test_a_gpu_node_with_an_image_is_six_lines():
    labels = {"stair.kind": "eval", "stair.variant": "full", "stair.version": "0.1.0"}
    file = {"path": "/images/eval.sif", "trouble": "", "labels": labels}
    visit = Visit("gpu01", "here", sheets.base("gpu-host"), sheets.base("gpu-image"), file)
    lines = summarize(visit)
    assert list(lines) == ["host", "GPU", "Vulkan", "image", "Apptainer", "Slurm"]
    assert lines["GPU"] == "2 × NVIDIA H100 80GB HBM3, driver 570.124.06, CUDA 12.8"
    assert lines["Vulkan"] == "2 × NVIDIA H100 80GB HBM3 (570.124.06) in the image"
    assert lines["image"] == "eval.sif: eval full, STAIR 0.1.0"


def test_a_machine_without_gpu_says_so():
    assert summarize(Visit("pc", "here", sheets.base("cpu-host")))["GPU"] == "none, and no NVIDIA driver"


def test_nothing_is_said_of_a_node_that_gave_no_answer():
    assert summarize(Visit("n1", "compute", missing={"node": "down"})) == {}


@pytest.mark.parametrize("name", ["cpu-host", "gpu-host", "eval-image"])
@pytest.mark.parametrize("how", ["failed", "absent", "null"])
def test_a_sheet_without_one_of_its_sections_can_be_summarized(name: str, how: str):
    whole = sheets.base(name)
    for section in whole:
        broken: dict[str, Any] = copy.deepcopy(whole)
        broken[section] = {"failed": "no answer", "how": "timeout"} if how == "failed" else None
        if how == "absent":
            del broken[section]
        summarize(Visit("x", "here", broken, broken))
        differing([Visit("a", "compute", whole), Visit("b", "compute", broken)])


def test_every_trait_but_the_job_can_be_compared():
    assert set(traits(Visit("x", "here", sheets.base("gpu-host")))) - set(WORDED) == {"Slurm"}


def test_a_login_host_is_not_one_of_the_nodes_that_are_compared():
    visits = [Visit("login", "login", sheets.base("cpu-host"))]
    visits += [Visit(name, "compute", sheets.base("gpu-host")) for name in ("n1", "n2")]
    common, different = differing(visits)
    assert "driver 570.124.06" in common
    assert different == []


def test_what_was_measured_is_a_line_with_the_slowest_of_several():
    deep = {
        "container": [{"image": "/x/eval.sif", "ok": True, "median": 0.21}],
        "draw": [{"ok": True}, {"ok": False}],
        "compute": [
            {"bf16_tflops": 640.1, "memory_gb_s": 2900.0},
            {"bf16_tflops": 612.4, "memory_gb_s": None},
        ],
        "all_reduce": {"ok": True, "bus_gb_s": 41.26},
    }
    assert summarize(Visit("n1", "compute", deep=deep))["measured"] == (
        "image starts in 0.2 s, 1 of 2 pictures good, "
        "bf16 612 TFLOP/s, memory 2,900 GB/s, all-reduce 41.3 GB/s"
    )
    lost = {part: {"failed": "no answer", "how": "timeout"} for part in deep}
    assert "measured" not in summarize(Visit("n1", "compute", deep=lost))
