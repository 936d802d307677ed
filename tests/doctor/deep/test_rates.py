"""The rates' script on the CPU: the same lines that run on a GPU, with small matrices."""

from __future__ import annotations

import json

import pytest

from stair.doctor.deep import rates
from stair.doctor.deep.child import Ended
from stair.doctor.deep.compute import read_rates

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(rates, "ROUND_S", 0.01)


def test_the_cpu_has_rates_and_multiplies_rightly(monkeypatch, capsys):
    monkeypatch.setattr(rates, "SIDE", {"cpu": 128})
    monkeypatch.setattr(rates, "MEMORY_MB", {"cpu": 4})
    rates.main("cpu")
    said = json.loads(capsys.readouterr().out)
    assert (said["error"], said["wrong"]) == ("", [])
    assert 0 < said["fp32_tflops"] < 100
    assert 0 < said["memory_gb_s"] < 10_000


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_is_right_or_it_is_not(dtype, monkeypatch):
    assert rates.right_product("cpu", dtype)
    multiply = torch.Tensor.__matmul__

    def wrong(one, other):
        out = multiply(one, other)
        if one.dtype == dtype:
            out[17, 4] += 8
        return out

    monkeypatch.setattr(torch.Tensor, "__matmul__", wrong)
    assert not rates.right_product("cpu", dtype)


def test_a_device_that_torch_does_not_see_is_told(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    rates.main("cuda")
    assert "sees no GPU" in json.loads(capsys.readouterr().out)["error"]


def test_memory_that_runs_out_is_told_with_what_was_measured_before(monkeypatch, capsys):
    monkeypatch.setattr(rates, "SIDE", {"cpu": 64})
    monkeypatch.setattr(rates, "MEMORY_MB", {"cpu": 10**12})
    rates.main("cpu")
    said = json.loads(capsys.readouterr().out)
    assert said["error"]
    assert said["fp32_tflops"] >= 0


def test_work_is_timed_per_piece(monkeypatch):
    monkeypatch.setattr(rates, "_timed", lambda work, times, device: 0.002 * times)
    assert rates.best(lambda: None, "cpu") == pytest.approx(0.002)


@pytest.mark.parametrize(
    ("ended", "says"),
    [
        (Ended(0, '{"error": "", "bf16_tflops": 600}', "", 5.0), ""),
        (Ended(None, "", "", 9.0), "no rates within 9 s"),
        (Ended(-7, "", "bus error", 5.0), "signal 7"),
        (Ended(1, "", "ImportError: libcudart", 5.0), "libcudart"),
    ],
)
def test_every_end_of_the_script_is_a_fact(ended, says):
    fact = read_rates(ended, 9)
    assert says in fact["error"]
    assert fact["timed_out"] is (ended.code is None)
