"""`--deep` on this machine: real pictures in the real image, and Vulkan drivers that crash or hang in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from stair.cluster.container import ContainerConfig
from stair.doctor.deep import child, measure
from stair.doctor.deep.draw import draw_one
from stair.doctor.deep.gpus import CPU
from stair.doctor.deep.inside import Place
from stair.doctor.deep.judge import CHECKS
from stair.doctor.deep.measure import deep_facts
from tests.containers.eval_image import EvalImage, eval_image  # noqa: F401
from tests.processes import limited_from

ICD = "/opt/stair/icd/lvp_icd.json"
DRIVER = """
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>
static void fault(void) { creat("/faults/reached", 0644); FAULT; }
int vk_icdNegotiateLoaderICDInterfaceVersion(unsigned *version) { fault(); return 0; }
void *vk_icdGetInstanceProcAddr(void *instance, const char *name) { fault(); return 0; }
"""


@pytest.fixture
def host(eval_image: EvalImage) -> dict[str, str]:  # noqa: F811
    return {
        **os.environ,
        "PATH": f"{eval_image.apptainer.parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }


@pytest.mark.slow
def test_both_sapiens_draw_in_the_image_and_it_is_healthy(host, eval_image, tmp_path):  # noqa: F811
    pictures = tmp_path / "kept" / "pictures"
    facts = deep_facts(
        {}, [str(eval_image.path)], pictures=str(pictures), parts=("draw", "container"), environment=host
    )
    assert list(facts) == ["container", "draw"]
    drawn = {fact["engine"]: fact for fact in facts["draw"]}
    assert all(fact["ok"] for fact in drawn.values()), drawn
    assert drawn["sapien3"]["devices"][0].startswith("llvmpipe")
    assert ("sapien2" in drawn) == (eval_image.order.variant == "full")
    for fact in drawn.values():
        assert looks_like_a_box_on_a_ground(Path(fact["picture"]))
    found = [finding for check in CHECKS for finding in check.judge({"deep": facts})]
    assert {finding.level for finding in found} <= {"warning"}, found  # slow, on a machine that is full
    json.dumps(facts, allow_nan=False)


def looks_like_a_box_on_a_ground(file: Path) -> bool:
    """Orange in the middle, grey left and right of it below the horizon."""
    np = pytest.importorskip("numpy")
    image = pytest.importorskip("PIL.Image")
    pixels = np.asarray(image.open(file)).astype(int)
    box, left, right = pixels[160, 160], pixels[160, 40], pixels[160, 280]
    orange = box[0] > box[1] + 60 > box[2] + 60
    return bool(orange and all(np.ptp(grey) < 10 and grey[0] > 100 for grey in (left, right)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "signal"), [("raise(SIGSEGV)", 11), ("pause()", None)], ids=["crash", "hang"]
)
def test_a_driver_that_crashes_or_hangs_is_a_fact(
    fault,
    signal,
    host,
    eval_image,  # noqa: F811
    tmp_path,
    monkeypatch,
):
    if not shutil.which("gcc"):
        pytest.skip("no gcc makes the driver")
    (tmp_path / "driver.c").write_text(DRIVER.replace("FAULT", fault))
    library = tmp_path / "libvulkan_lvp.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "driver.c"], check=True)
    icd = {
        "file_format_version": "1.0.0",
        "ICD": {"library_path": f"/faults/{library.name}", "api_version": "1.3"},
    }
    (tmp_path / "icd.json").write_text(json.dumps(icd))
    container = ContainerConfig(binds=(f"{tmp_path}:/faults", f"{tmp_path}/icd.json:{ICD}:ro"))
    place = Place(str(eval_image.path), container=container)
    since = []

    def reached() -> list[float]:
        if not since and (tmp_path / "reached").exists():
            since.append(time.monotonic())
        return since

    monkeypatch.setattr(child.subprocess, "Popen", limited_from(reached))
    fact = draw_one(place, "sapien3", CPU, pictures=None, limit_s=12, host=host)
    assert reached(), fact
    assert (fact["ok"], fact["signal"], fact["timed_out"]) == (False, signal, signal is None)
    assert time.monotonic() - since[0] < 60
    (finding,) = (finding for check in CHECKS for finding in check.judge({"deep": {"draw": [fact]}}))
    assert (finding.id, finding.level) == ("deep.draw", "error")


def test_without_images_and_packages_everything_is_unknown_with_the_reason(monkeypatch, tmp_path):
    monkeypatch.setattr(measure, "find_spec", lambda name: None)
    monkeypatch.setattr(measure, "engines", lambda image: ())
    facts = deep_facts({}, environment={})
    assert facts["container"] == []
    assert {facts[part]["how"] for part in ("draw", "compute", "all_reduce")} == {"missing"}
    found = [finding for check in CHECKS for finding in check.judge({"deep": facts})]
    assert [(finding.id, finding.level) for finding in found] == [
        ("deep.draw", "unknown"),
        ("deep.matmul", "unknown"),
        ("deep.all-reduce", "unknown"),
    ]


def test_an_image_that_is_not_there_is_left_to_those_who_look_at_files(tmp_path):
    facts = deep_facts({}, [str(tmp_path / "x.sif")], parts=("container",))
    assert facts == {"container": []}


def test_a_folder_that_cannot_be_made_is_told(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(measure, "engines", lambda image: ("sapien3",))
    facts = deep_facts({}, pictures=str(tmp_path / "file" / "pictures"), parts=("draw",), environment={})
    assert "Not a directory" in facts["draw"]["failed"]
