"""Image files: what the fault sheets and the live faults do not show."""

from __future__ import annotations

from typing import Any

import pytest

from stair.doctor.checks import diagnose
from stair.doctor.finding import Finding
from stair.doctor.visit import Visit
from tests.doctor import sheets

LABELS = {"stair.kind": "eval", "stair.variant": "full", "stair.python": "3.11.2", "stair.version": "0.1.0"}
GOOD = {
    "path": "/images/eval.sif",
    "bytes": 1,
    "architecture": "amd64",
    "labels": LABELS,
    "labels_known": True,
}
EVAL = {"kind": "eval", "render": "cpu"}


def found(file: dict[str, Any], request: dict[str, Any] | None = None, host: bool = True) -> list[Finding]:
    sheet = sheets.base("cpu-host") if host else None
    visit = Visit("n1", "here", sheet, image_file={**GOOD, **file}, request=request)
    return list(diagnose([visit], only=["image"]))


def test_a_good_image_is_not_spoken_of():
    assert found({}) == found({}, EVAL) == found({}, host=False) == []


@pytest.mark.parametrize("trouble", ["missing", "unreadable", "not-sif", "truncated"])
def test_a_file_that_cannot_be_used_is_named_also_where_the_host_was_not_looked_at(trouble: str):
    for host in (True, False):
        (finding,) = found({"trouble": trouble, "detail": "odd"}, host=host)
        assert (finding.id, finding.level) == (f"image.{trouble}", "error")


def test_a_training_image_cannot_evaluate():
    (finding,) = found({"labels": {**LABELS, "stair.kind": "train"}}, EVAL)
    assert finding.id == "image.kind"
    assert finding.command == "containers/build eval --force"


def test_an_image_for_the_cpu_cannot_train_on_gpus():
    labels = {**LABELS, "stair.kind": "train", "stair.variant": "cpu"}
    (finding,) = found({"labels": labels}, {"kind": "train", "gpus_per_node": 2})
    assert finding.id == "image.variant"


def test_labels_that_could_not_be_read_are_unknown():
    (finding,) = found({"labels": {}, "labels_known": False}, EVAL)
    assert (finding.id, finding.level) == ("image.unknown", "unknown")


def test_a_lock_is_compared_only_where_both_are_known():
    assert found({"expected_lock": "a" * 64}) == []
    assert found({"labels": {**LABELS, "stair.lock_sha256": "b" * 64}}) == []
    (finding,) = found({"labels": {**LABELS, "stair.lock_sha256": "b" * 64}, "expected_lock": "a" * 64})
    assert finding.id == "image.stale-lock"
