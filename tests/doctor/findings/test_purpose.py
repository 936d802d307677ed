"""What a place is for decides how bad a fault is."""

from __future__ import annotations

from stair.doctor.findings.purpose import draws, level_of, sapiens, wants_nvidia
from tests.doctor import sheets

CPU, NVIDIA = {"kind": "eval", "render": "cpu"}, {"kind": "eval", "render": "nvidia"}


def test_a_bare_node_draws_only_where_it_is_asked_and_no_image_does_it():
    host = sheets.base("cpu-host")
    assert not draws(host)
    assert draws({**host, "request": CPU})
    assert not draws({**host, "request": CPU, "image_file": {"path": "eval.sif"}})


def test_an_evaluation_image_draws_and_a_training_image_never():
    image = sheets.base("eval-image")
    assert draws(image)
    image["image"]["labels"]["stair.kind"] = "train"
    assert not draws({**image, "request": NVIDIA})


def test_a_driver_makes_a_fault_a_warning_on_the_host_and_an_error_in_the_image():
    assert level_of(sheets.base("cpu-host")) == "note"
    assert level_of(sheets.base("gpu-host")) == "warning"
    assert level_of(sheets.base("gpu-image")) == "error"


def test_a_gpu_is_to_draw_unless_the_cpu_was_chosen():
    image = sheets.base("gpu-image")
    assert wants_nvidia(image)
    assert not wants_nvidia({**image, "request": CPU})
    on_cpu = {**image, "vulkan": sheets.base("eval-image")["vulkan"]}
    assert not wants_nvidia(on_cpu)
    assert wants_nvidia({**on_cpu, "request": NVIDIA})


def test_a_full_evaluation_image_has_both_sapiens_whichever_python_looks():
    image = sheets.base("eval-image")
    assert sapiens(image) == {2, 3}
    image["image"]["labels"]["stair.variant"] = "ms3"
    assert sapiens(image) == {3}
