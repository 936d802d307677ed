"""What was measured is said in a line each, and nothing about what was not."""

from __future__ import annotations

from stair.doctor.deep.summary import summarize_deep

H100 = "NVIDIA H100 80GB HBM3"


def test_eight_gpus_are_one_line_each_for_pictures_and_rates():
    drawn = [{"gpu": n, "engine": "sapien3", "ok": n != 3, "draw_s": 4.0 + n / 10} for n in range(8)]
    rates = [{"gpu": n, "name": H100, "bf16_tflops": 640.0 + n, "memory_gb_s": 2900.0} for n in range(8)]
    total = {"ok": True, "between": "nodes", "hosts": ["n1", "n2"], "bus_gb_s": 41.23, "latency_us": 31.4}
    assert summarize_deep(
        {
            "draw": drawn,
            "compute": rates,
            "all_reduce": {**total, "backend": "nccl"},
            "container": [{"image": "/i/eval.sif", "ok": True, "median": 0.52}, {"image": "/x", "ok": False}],
        }
    ) == {
        "pictures": "SAPIEN 3 on 7 of 8 GPUs in 4-4.7 s",
        "rates": f"8 x {H100}: bf16 640-647 TFLOP/s, memory 2900 GB/s",
        "all-reduce": "n1 and n2: 41.2 GB/s, 31 us (nccl)",
        "start": "eval.sif in 0.5 s",
    }


def test_a_cpu_is_said_too_and_what_was_not_measured_is_not():
    deep = {
        "draw": [{"gpu": None, "engine": "sapien2", "ok": True, "draw_s": 3.14}],
        "compute": [{"gpu": None, "name": "", "fp32_tflops": 0.141, "memory_gb_s": 25.2}],
        "all_reduce": {"failed": "no torch", "how": "missing"},
        "container": None,
    }
    assert summarize_deep(deep) == {
        "pictures": "SAPIEN 2 on the CPU in 3.14 s",
        "rates": "CPU: fp32 0.141 TFLOP/s, memory 25.2 GB/s",
    }
    assert summarize_deep({}) == {}
