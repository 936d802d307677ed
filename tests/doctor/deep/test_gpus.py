"""Each GPU is shown to its child alone, by the words that the job was given."""

from __future__ import annotations

import pytest

from stair.doctor.deep.gpus import CPU, Gpu, gpus_of

DEVICES = [
    {"ordinal": 0, "name": "NVIDIA L40S", "uuid": "GPU-aa"},
    {"ordinal": 1, "name": "NVIDIA L40S", "uuid": "GPU-bb"},
]
DRIVER = {"gpus": [{"model": "NVIDIA L40S", "uuid": f"GPU-{n}"} for n in ("aa", "bb", "cc", "dd")]}
CUDA = {"code": 0, "error": "", "devices": DEVICES}


@pytest.mark.parametrize(
    ("sheet", "visible", "shown"),
    [
        ({"cuda": CUDA, "driver": DRIVER}, None, ["GPU-aa", "GPU-bb"]),
        ({"cuda": CUDA, "driver": DRIVER}, "2,3", ["2", "3"]),
        ({"cuda": CUDA}, "MIG-x,MIG-y", ["MIG-x", "MIG-y"]),
        ({"cuda": CUDA}, "", []),
        ({"cuda": CUDA}, "NoDevFiles", []),
        ({"cuda": {"failed": "no answer", "how": "timeout"}, "driver": DRIVER}, "1", ["1"]),
        ({"cuda": {"failed": "x"}, "driver": DRIVER}, None, [f"GPU-{n * 2}" for n in "abcd"]),
        ({"cuda": {"code": 100, "error": "no device", "devices": []}, "driver": DRIVER}, "0", ["0"]),
        ({"cuda": {"code": 0, "devices": []}, "driver": DRIVER}, None, []),
        ({"cuda": None, "driver": None}, None, []),
        ({}, None, []),
    ],
)
def test_gpus_are_shown_one_by_one_in_the_jobs_own_words(sheet, visible, shown):
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    gpus = gpus_of(sheet, environment)
    assert [gpu.visible for gpu in gpus] == shown
    assert [gpu.index for gpu in gpus] == list(range(len(shown)))


def test_a_gpu_without_uuid_is_counted_as_its_variables_say():
    (gpu,) = gpus_of({"cuda": {"code": 0, "devices": [{"name": "X"}]}}, {})
    assert gpu.variables == {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def test_the_cpu_hides_nothing():
    assert (CPU.variables, str(CPU), str(Gpu(3))) == ({}, "the CPU", "GPU 3")
