"""Facts become findings: what is wrong is an error, what is slow a warning, what was not measured unknown."""

from __future__ import annotations

import pytest

from stair.doctor.deep.expected import MODELS
from stair.doctor.deep.judge import CHECKS
from stair.doctor.deep.links import expected_gb_s

GOOD = {"gpu": 0, "name": "x", "engine": "sapien3", "choice": "nvidia", "ok": True, "draw_s": 4.0, "std": 0.2}
RATES = {
    "gpu": 0,
    "name": "NVIDIA H100 80GB HBM3",
    "error": "",
    "wrong": [],
    "bf16_tflops": 680.0,
    "tf32_tflops": 380.0,
    "memory_gb_s": 2900.0,
    "host_to_device_gb_s": 54.0,
}
SUM = {
    "ok": True,
    "backend": "nccl",
    "between": "nodes",
    "hosts": ["n1", "n2"],
    "bus_gb_s": 40.0,
    "sides": [],
}
START = {"image": "/i.sif", "file_system": "xfs", "ok": True, "median": 0.5, "first": 0.9, "seconds": [0.5]}
NDR = {"infiniband": [{"device": "mlx5_0", "state": "ACTIVE", "rate": "400 Gb/sec (4X NDR)"}]}


def findings(network=None, **deep):
    facts = {"deep": deep, "network": network or NDR}
    return [finding for check in CHECKS for finding in check.judge(facts)]


def only(**deep):
    (finding,) = findings(**deep)
    return finding


def bad(gpu: int, error: str, **more):
    return {**GOOD, "gpu": gpu, "ok": False, "error": error, **more}


def test_silence_is_health_and_nothing_is_said_unasked():
    assert not findings(draw=[GOOD], compute=[RATES], all_reduce=SUM, container=[START])
    for facts in (
        {},
        {"deep": None},
        {"deep": {}},
        {"deep": {"draw": None, "compute": [], "all_reduce": None}},
    ):
        assert not [finding for check in CHECKS for finding in check.judge(facts)]


def test_every_finding_has_the_id_of_its_check_and_each_check_one_of_its_own():
    assert [check.id for check in CHECKS] == [
        "deep.container-start",
        "deep.draw",
        "deep.matmul",
        "deep.copy",
        "deep.all-reduce",
    ]
    why = {"failed": "no image", "how": "missing"}
    facts = {"deep": {"draw": why, "compute": why, "all_reduce": why, "container": why}}
    for check in CHECKS:
        for finding in check.judge(facts):
            assert (finding.id, finding.level) == (check.id, "unknown")
            assert "no image" in finding.seen
    assert len([f for check in CHECKS for f in check.judge(facts)]) == 4  # copies are not said twice


def test_one_gpu_that_hangs_among_others_is_the_one_to_leave_out():
    others = [{**GOOD, "gpu": number} for number in (1, 2)]
    finding = only(draw=[bad(0, "no picture within 120 s", timed_out=True), *others])
    assert finding.level == "error"
    assert finding.seen == "SAPIEN 3 draws nothing on GPU 0: no picture within 120 s"
    assert "GPU 1, GPU 2 can" in finding.means
    assert "ErrorDeviceLost" in finding.means


def test_gpus_that_fail_alike_are_one_finding_and_engines_are_apart():
    same = [bad(0, "it died of signal 11"), bad(1, "it died of signal 11")]
    two = bad(0, "constant", engine="sapien2")
    first, second = findings(draw=[*same, two])
    assert first.seen == "SAPIEN 3 draws nothing on GPU 0, GPU 1: it died of signal 11"
    assert "Segmentation fault" in first.means
    assert "cpu-render" in first.cure
    assert second.seen.startswith("SAPIEN 2 draws nothing on GPU 0")


def test_a_cpu_that_does_not_draw_is_not_told_to_draw_on_the_cpu():
    finding = only(draw=[bad(0, "constant") | {"gpu": None, "choice": "cpu"}])
    assert "the CPU" in finding.seen
    assert "cpu-render" not in finding.cure


def test_what_could_not_be_tried_is_unknown_and_a_slow_picture_a_warning():
    assert only(draw=[{**GOOD, "ok": None, "error": "FATAL: no such file"}]).level == "unknown"
    assert only(draw=[{**GOOD, "draw_s": 75.0}]).level == "warning"
    assert not findings(draw=[{**GOOD, "draw_s": None}])


@pytest.mark.parametrize(
    ("rates", "id", "level", "says"),
    [
        ({"bf16_tflops": 380.0}, "deep.matmul", "warning", "bf16 380 of 989 TFLOP/s"),
        ({"tf32_tflops": 190.0}, "deep.matmul", "warning", "TF32 190 of 495 TFLOP/s"),
        ({"wrong": ["bf16"]}, "deep.matmul", "error", "multiplies wrongly in bf16"),
        ({"error": "CUDA out of memory. Tried"}, "deep.matmul", "unknown", "out of memory"),
        ({"error": "no torch", "no_torch": True}, "deep.matmul", "unknown", "no torch"),
        ({"error": "CUDA error: uncorrectable ECC error"}, "deep.matmul", "error", "ECC"),
        ({"memory_gb_s": 1900.0}, "deep.copy", "warning", "1900 of 3350 GB/s"),
        ({"host_to_device_gb_s": 12.9}, "deep.copy", "warning", "fed 12.9 of 64 GB/s"),
    ],
)
def test_a_gpu_is_held_against_its_data_sheet(rates, id, level, says):
    finding = only(compute=[{**RATES, **rates}])
    assert (finding.id, finding.level) == (id, level)
    assert says in finding.seen


@pytest.mark.parametrize("name", [*MODELS])
def test_what_people_measure_on_each_model_is_no_finding(name):
    sheet = MODELS[name]
    measured = {
        "bf16_tflops": 0.55 * sheet.bf16_tflops,
        "tf32_tflops": 0.5 * sheet.tf32_tflops,
        "memory_gb_s": 0.75 * sheet.memory_gb_s,
        "host_to_device_gb_s": 0.4 * sheet.link_gb_s,
    }
    assert not findings(compute=[{**RATES, "name": name, **measured}])
    assert len(findings(compute=[{**RATES, "name": name, **{k: v / 3 for k, v in measured.items()}}])) == 3


def test_cpus_slices_and_unknown_models_are_not_judged():
    slow = {"bf16_tflops": 1.0, "memory_gb_s": 1.0, "host_to_device_gb_s": 0.1}
    assert not findings(compute=[{**RATES, **slow, "name": "NVIDIA H100 80GB HBM3 MIG 1g.10gb"}])
    assert not findings(
        compute=[{"gpu": None, "name": "", "error": "", "fp32_tflops": 0.01, "memory_gb_s": 1}]
    )


@pytest.mark.parametrize(
    ("more", "level", "says"),
    [
        ({"bus_gb_s": 5.0}, "warning", "mlx5_0 has 400 Gb/sec"),
        ({"ok": False, "wrong": True, "at": "n2"}, "error", "wrong on n2"),
        ({"ok": False, "at": "n2", "stage": "meet", "error": "refused"}, "error", "n2, at 'meet': refused"),
        ({"ok": False, "at": "n1", "stage": "group", "error": "x"}, "error", "n1 over ib0, at 'group'"),
        ({"failed": "srun: no nodes", "how": "error"}, "unknown", "srun: no nodes"),
    ],
)
def test_a_sum_between_two_names_the_side_and_its_network(more, level, says):
    finding = only(all_reduce={**SUM, "sides": [{"host": "n1", "interface": "ib0"}], **more})
    assert (finding.id, finding.level) == ("deep.all-reduce", level)
    assert says in finding.seen


def test_two_processes_of_one_machine_are_not_held_against_a_network():
    assert not findings(all_reduce={**SUM, "between": "processes", "bus_gb_s": 0.001})


@pytest.mark.parametrize(
    ("network", "backend", "least"),
    [
        (NDR, "nccl", 15.0),
        ({"infiniband": [{**NDR["infiniband"][0], "state": "DOWN"}]}, "nccl", 1.0),
        ({"interfaces": [{"name": "eth0", "up": True, "speed_mb_s": 3125}]}, "nccl", 0.9375),
        ({"interfaces": [{"name": "eth0", "up": True, "speed_mb_s": None}]}, "nccl", 1.0),
        ({"failed": "x", "how": "timeout"}, "nccl", 1.0),
        ({"interfaces": [{"name": "eth0", "up": True, "speed_mb_s": 125}]}, "gloo", 0.0125),
        (NDR, "gloo", 0.1),
        ({}, "gloo", 0.0),
    ],
)
def test_how_fast_it_has_to_be_follows_from_the_network(network, backend, least):
    assert expected_gb_s({"network": network}, backend)[0] == pytest.approx(least)


@pytest.mark.parametrize(
    ("more", "level", "says"),
    [
        ({"median": 9.0, "first": 31.0, "file_system": "lustre"}, "warning", "takes 9.0 s"),
        ({"ok": False, "error": "FATAL: no squashfs"}, "error", "no squashfs"),
        ({"ok": None, "error": "apptainer cannot be started"}, "unknown", "cannot be started"),
    ],
)
def test_an_image_starts_quickly_or_it_is_said(more, level, says):
    finding = only(container=[{**START, **more}])
    assert (finding.id, finding.level) == ("deep.container-start", level)
    assert says in finding.seen


def test_a_slow_image_on_a_network_disk_is_to_be_copied():
    finding = only(container=[{**START, "median": 9.0, "first": 31.0, "file_system": "nfs4"}])
    assert finding.command == "cp /i.sif /tmp/"
    assert "network file system" in finding.means


def test_a_picture_drawn_in_an_image_is_folded_below_the_fault_of_that_image():
    """By the checks of the whole doctor: a broken driver file comes first, the picture follows from it."""
    from stair.doctor.checks import because, diagnose
    from stair.doctor.finding import Finding, fold
    from stair.doctor.visit import Visit

    drawn = {**bad(0, "it died of signal 11", choice="cpu"), "gpu": None, "image": "/eval.sif"}
    visit = Visit(
        "n1",
        "compute",
        host={"probe": 2},
        image={"probe": 2, "inside": "apptainer"},
        image_file={"path": "/eval.sif", "trouble": "", "labels": {}},
        deep={"draw": [drawn]},
    )
    (found,) = diagnose([visit], ["deep.draw"])
    assert (found.place, found.level) == ("image on n1", "error")
    cause = Finding("vulkan.icd-crashes", "error", "x", place="image on n1")
    (diagnosis,) = fold([cause, found], because())
    assert diagnosis.consequences == (found,)
    # without an image that was looked at, and for what was drawn outside, the host is the place
    for deep, image, image_file in (
        ({"draw": [drawn]}, None, None),
        ({"draw": [{**drawn, "image": ""}]}, visit.image, visit.image_file),
        ({"draw": {"failed": "no image", "how": "missing"}}, visit.image, visit.image_file),
    ):
        there = Visit("n1", "compute", {"probe": 2}, image, image_file, deep=deep)
        assert [finding.place for finding in diagnose([there], ["deep.draw"])] == ["n1"]
    # and where the probe in the image did not come back, the picture is still told
    lost = Visit(
        "n1", "compute", {"probe": 2}, None, visit.image_file, missing={"image": "x"}, deep=visit.deep
    )
    assert [finding.place for finding in diagnose([lost], ["deep.draw"])] == ["image on n1"]
