"""A visit looks at this very machine, goes to JSON and comes back."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest

from containers.order import Order as ImageOrder
from containers.order import lock_digest
from stair.cluster.container import gets_gpus
from stair.doctor import visit as module
from stair.doctor.visit import Order, Visit, expected_lock, from_json, image_command, to_json, visit_here
from stair.errors import UsageError
from stair.origin import CHECKOUT
from tests.cluster.sifs import write_sif
from tests.containers.baked import BakedImage
from tests.containers.eval_image import eval_image  # noqa: F401
from tests.processes import limited_from, said

VISIT = Visit(
    "n1",
    "compute",
    {"probe": 2, "host": "n1"},
    {"probe": 2},
    {"path": "x.sif", "labels": {}},
    {"gpus_per_node": 1},
    {"image": "why"},
    {"rates": [1.5]},
)


def test_a_visit_comes_back_from_json_as_it_was():
    assert from_json(json.loads(json.dumps(to_json(VISIT)))) == VISIT
    assert all(getattr(VISIT, field.name) for field in fields(VISIT))


def test_keys_of_a_later_version_are_passed_over():
    assert from_json({**to_json(VISIT), "mood": "fine"}) == VISIT


def test_a_bare_sheet_is_a_visit_of_its_host():
    assert from_json({"probe": 2, "host": "gpu01"}) == Visit("gpu01", host={"probe": 2, "host": "gpu01"})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "holds no visit"),
        ({"name": "x"}, "holds no visit"),
        ({"stair_doctor": 2, "name": "x"}, "newer stair-doctor"),
        ({"stair_doctor": 1, "name": "x", "host": "text"}, "'host' of a visit is no mapping"),
    ],
)
def test_what_is_no_visit_of_ours_is_refused(value, said: str):
    with pytest.raises(UsageError, match=said):
        from_json(value, "a.json")


def test_this_host_is_looked_at(tmp_path: Path):
    seen = visit_here(Order(folder=str(tmp_path), timeout_s=20))
    assert seen.missing == {}
    assert seen.host
    assert seen.host["probe"] == 2
    assert any(disk["path"] == str(tmp_path) for disk in seen.host["disks"])
    assert seen.image is seen.request is None


def test_a_probe_that_hangs_is_a_sentence_and_leaves_no_process(monkeypatch, tmp_path: Path):
    mark = tmp_path / "pid"
    code = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    monkeypatch.setattr(module.subprocess, "Popen", limited_from(lambda: said(mark)))
    monkeypatch.setattr(module, "probe_source", lambda: code)
    monkeypatch.setattr(module, "BARE_S", 1.0)
    seen = visit_here(Order(timeout_s=0.01))
    assert seen.host is None
    assert seen.missing == {"host": "the probe gave no answer within 1 s"}
    assert not Path("/proc", mark.read_text()).exists()


def test_a_probe_that_dies_is_a_sentence(monkeypatch):
    monkeypatch.setattr(module, "probe_source", lambda: "import os; print('{', flush=True); os.abort()")
    assert visit_here(Order()).missing == {"host": "the probe left with -6: {"}


def test_an_image_that_is_not_there_is_not_started(tmp_path: Path):
    seen = visit_here(Order(image=str(tmp_path / "no.sif")))
    assert seen.image is None
    assert seen.image_file
    assert seen.image_file["trouble"] == "missing"
    assert "image" not in seen.missing


def test_an_image_without_apptainer_is_a_sentence(tmp_path: Path, monkeypatch):
    write_sif(small_sif := tmp_path / "small.sif", labels={"stair.kind": "eval"})
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visit_here(Order(image=str(small_sif))).missing["image"].startswith("apptainer cannot be started")


@pytest.mark.parametrize(
    ("render", "driver", "nv"),
    [("", False, False), ("", True, True), ("cpu", True, False), ("nvidia", False, True)],
)
def test_an_image_is_started_as_a_job_would_start_it(
    render: str, driver: bool, nv: bool, monkeypatch, tmp_path
):
    monkeypatch.setattr(module, "DRIVER", tmp_path if driver else tmp_path / "absent")
    argv, environment = image_command(["python3", "-"], Order("/x/eval.sif", render, str(tmp_path)))
    assert gets_gpus(argv) is nv
    assert argv[-3:] == ("/x/eval.sif", "python3", "-")
    assert f'"source={tmp_path}"' in " ".join(argv)
    assert not [name for name in environment if name.startswith("PYTEST")]


@pytest.mark.parametrize(
    "order",
    [
        ImageOrder(variant="full"),
        ImageOrder(variant="ms3"),
        ImageOrder(variant="cuda"),
        ImageOrder(variant="cpu"),
    ],
)
def test_the_expected_lock_is_that_of_an_image_built_now(order: ImageOrder):
    labels = {"stair.kind": order.kind, "stair.variant": order.variant}
    if order.kind == "train":
        labels["stair.attention"] = order.attention
    assert expected_lock(labels, CHECKOUT / "containers" / "locks") == lock_digest(order)
    assert expected_lock(labels, CHECKOUT / "nowhere") == ""
    assert expected_lock({}, CHECKOUT / "containers" / "locks") == ""


def test_a_job_is_described_where_something_was_said_about_one():
    order = Order(render="cpu", gpus_per_node=2)
    assert visit_here(replace(order, timeout_s=2)).request == {
        "gpus_per_node": 2,
        "cpus": 0,
        "memory_mb": 0,
        "minutes": 0,
        "kind": "",
        "render": "cpu",
        "layout": "",
        "minutes_left": None,
    }
    assert asdict(order)["gpus_per_node"] == 2


def test_the_same_probe_looks_into_the_real_image(eval_image: BakedImage, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.setenv("PATH", f"{eval_image.apptainer.parent}:{os.environ['PATH']}")
    seen = visit_here(Order(str(eval_image.path), "cpu", str(tmp_path), timeout_s=20))
    assert seen.missing == {}
    assert seen.image
    assert seen.image["inside"] == "apptainer"
    assert [device["type"] for device in seen.image["vulkan"]["devices"]] == ["cpu"]
    assert seen.image_file
    assert seen.image_file["labels"]["stair.kind"] == "eval"
    assert seen.request
    assert seen.request["kind"] == "eval"
