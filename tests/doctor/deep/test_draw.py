"""What a child says about its picture, and stand-ins of SAPIEN that hang, crash, lie or draw."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from stair.cluster.image import ImageFacts
from stair.doctor.deep import child
from stair.doctor.deep.child import Ended
from stair.doctor.deep.draw import draw, draw_one, engines, read_picture
from stair.doctor.deep.gpus import CPU, Gpu
from stair.doctor.deep.inside import Place

DREW = {"devices": ["llvmpipe (LLVM 19.1.7)"], "spread": 0.13, "seconds": 4.2, "file": "/p.png"}
SAPIEN = """
import os, time
__version__ = "3.0.0"
time.sleep({sleep})
if {crash}: os.kill(os.getpid(), 11)
if {scream}: raise RuntimeError("failed to find a rendering device")
import numpy
class Camera:
    entity = property(lambda self: self)
    def set_pose(self, pose): pass
    def take_picture(self): pass
    def get_picture(self, name):
        picture = numpy.zeros((240, 320, 4)); picture[:100, :, 0] = {spread}; return picture
class Anything:
    def __init__(self, *a, **k): pass
    def __getattr__(self, name): return lambda *a, **k: Camera() if name == "add_camera" else Anything()
Device = Scene = Pose = Anything
class physx: PhysxCpuSystem = Anything
class render:
    RenderSystem = Anything
    @staticmethod
    def get_device_summary(): return "GPU: llvmpipe (stand-in)"
import sys
sys.modules["sapien.render"] = render
"""


@pytest.fixture
def stand_in(tmp_path: Path):
    """Variables under which a stand-in of SAPIEN is imported; it finds one driver file of Mesa's."""
    icd = tmp_path / "lvp.json"
    icd.write_text(json.dumps({"ICD": {"library_path": "libvulkan_lvp.so", "api_version": "1.4.0"}}))

    def make(sleep: float = 0, crash: bool = False, scream: bool = False, spread: float = 1):
        text = SAPIEN.format(sleep=sleep, crash=crash, scream=scream, spread=spread)
        (tmp_path / "sapien.py").write_text(text)
        return {**os.environ, "PYTHONPATH": str(tmp_path), "VK_DRIVER_FILES": str(icd)}

    return make


def drawn_with(host: dict[str, str], limit_s: float = 60, pictures: Path | None = None):
    return draw_one(Place(), "sapien3", CPU, pictures=pictures, limit_s=limit_s, host=host)


def test_a_picture_is_drawn_measured_and_kept(stand_in, tmp_path):
    (fact,) = draw(Place(), ("sapien3",), (), pictures=tmp_path, host=stand_in())
    assert fact["ok"], fact
    assert fact["std"] == pytest.approx(0.3458, abs=1e-3)
    assert fact["draw_s"] <= fact["seconds"]
    assert Path(fact["picture"]) == tmp_path / "sapien3-cpu.png"
    assert Path(fact["picture"]).read_bytes().startswith(b"\x89PNG")
    assert (fact["gpu"], fact["engine"], fact["signal"], fact["error"]) == (None, "sapien3", None, "")


def test_a_constant_picture_is_none(stand_in):
    fact = drawn_with(stand_in(spread=0))
    assert (fact["ok"], fact["std"]) == (False, 0)
    assert "constant" in fact["error"]


def test_a_crash_is_the_signal(stand_in):
    fact = drawn_with(stand_in(crash=True))
    assert (fact["ok"], fact["signal"]) == (False, 11)
    assert "signal 11" in fact["error"]


def test_a_hang_ends_at_its_limit(stand_in, monkeypatch):
    monkeypatch.setattr(child, "GRACE_S", 0.5)
    fact = drawn_with(stand_in(sleep=600), limit_s=1.5)
    assert (fact["ok"], fact["timed_out"], fact["signal"]) == (False, True, None)
    assert fact["error"] == "no picture within 1.5 s"
    assert fact["seconds"] < 100


def test_what_the_renderer_complained_of_is_handed_on(stand_in):
    assert "failed to find a rendering device" in drawn_with(stand_in(scream=True))["error"]


@pytest.mark.parametrize(
    ("choice", "ended", "ok", "says"),
    [
        ("cpu", Ended(0, json.dumps(DREW), "", 5.0), True, ""),
        ("cpu", Ended(0, json.dumps({**DREW, "spread": float("nan")}), "", 5.0), False, "constant"),
        ("nvidia", Ended(0, json.dumps(DREW), "", 5.0), False, "llvmpipe"),
        ("cpu", Ended(0, json.dumps({"error": "no file", "hint": "x"}), "", 1.0), False, "no file"),
        ("cpu", Ended(139, "", "svulkan2 [error]", 5.0), False, "signal 11"),
        ("cpu", Ended(255, "", "FATAL:   stat /opt/x: no such file or directory", 1.0), None, "no such file"),
        ("cpu", Ended(1, "", "ModuleNotFoundError: no sapien", 1.0), False, "no sapien"),
        ("cpu", Ended(None, json.dumps(DREW), "", 9.0), False, "no picture within 9 s"),
        ("cpu", Ended(0, "[1]", "", 1.0), False, ""),
    ],
)
def test_every_end_of_a_child_is_a_fact(choice, ended, ok, says):
    fact = read_picture(choice, ended, 9)
    assert fact["ok"] is ok
    assert says in fact["error"]
    json.dumps(fact, allow_nan=False)


def test_the_engines_are_those_of_the_image_or_of_this_python():
    assert engines(ImageFacts("x.sif", labels={"stair.variant": "ms3"}, labels_known=True)) == ("sapien3",)
    assert engines(ImageFacts("x.sif", labels={"stair.variant": "full"}, labels_known=True)) == (
        "sapien3",
        "sapien2",
    )


def test_each_gpu_is_asked_for_alone(stand_in, monkeypatch):
    """Without an NVIDIA driver the children refuse, each by the GPU that it was shown."""
    seen = []

    def run(argv, variables, limit_s):
        seen.append((argv[-1], variables["CUDA_VISIBLE_DEVICES"]))
        return Ended(0, json.dumps({**DREW, "devices": ["NVIDIA L40S"]}), "", 1.0)

    monkeypatch.setattr("stair.doctor.deep.draw.run", run)
    facts = draw(Place(), ("sapien3", "sapien2"), (Gpu(0, "a", "GPU-a"), Gpu(1, "b", "GPU-b")), host={})
    assert [(fact["gpu"], fact["engine"], fact["ok"]) for fact in facts] == [
        (0, "sapien3", True),
        (0, "sapien2", True),
        (1, "sapien3", True),
        (1, "sapien2", True),
    ]
    assert sorted(seen) == [("nvidia", "GPU-a")] * 2 + [("nvidia", "GPU-b")] * 2
