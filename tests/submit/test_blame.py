"""Whose fault a finding is, and what a failed step becomes by it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stair.doctor.checks import ALL
from stair.doctor.finding import Finding
from stair.submit.blame import BLAMED, blame, explain
from stair.submit.verdict import Ending

GPU = {"gpus_per_node": 1, "render": "", "kind": "train"}
CPU = {"gpus_per_node": 0, "render": "", "kind": ""}
DRAWN = {"gpus_per_node": 0, "render": "cpu", "kind": "eval"}
LOST = Finding(
    "driver.gpu-lost", "error", "Xid 79", "fallen off the bus", "another node", "sbatch --exclude=n1"
)
CRASH = Ending("retryable", "crash", "killed by SIGSEGV", code=-11)
BUG = Ending("fatal", "", "exit 1: RuntimeError: CUDA error", code=1)


def test_somebody_or_nobody_is_named_for_every_check():
    forgotten = [check.id for check in ALL if not any(check.id.startswith(start) for start in BLAMED)]
    assert len(ALL) > 100
    assert not forgotten
    stale = [start for start in BLAMED if not any(check.id.startswith(start) for check in ALL)]
    assert not stale


@pytest.mark.parametrize(
    ("id", "place", "who"),
    [
        ("driver.mismatch", "n1", "node"),
        ("driver.node-missing", "n1", "node"),
        ("gpu.ecc", "n1", "node"),
        ("gpu.mig", "n1", "request"),
        ("vulkan.no-icd", "image on n1", "node"),
        ("vulkan.no-ray-tracing", "image on n1", "request"),
        ("libraries.x11", "image on n1", "image"),
        ("libraries.x11", "n1", "node"),
        ("packages.numpy", "image on n1", "image"),
        ("packages.numpy", "n1", "nobody"),
        ("image.architecture", "n1", "image"),
        ("image.missing", "n1", "node"),
        ("image.not-bound", "image on n1", "node"),
        ("disk.full", "n1", "nobody"),
        ("disk.stale", "n1", "node"),
        ("something.new", "n1", "nobody"),
    ],
)
def test_the_longest_name_that_fits_counts_and_the_place_where_it_was_seen(id: str, place: str, who: str):
    assert blame(Finding(id, "error", "seen", place=place)) == who


@pytest.mark.parametrize("ending", [CRASH, BUG])
def test_a_node_at_fault_is_left_in_the_words_of_the_finding(ending: Ending):
    told = explain(ending, [LOST], GPU)
    assert (told.verdict, told.cause, told.code) == ("retryable", "node", ending.code)
    assert told.why == f"{ending.why}; Xid 79: fallen off the bus [driver.gpu-lost]"
    assert told.hint == "another node: sbatch --exclude=n1"


def test_what_the_step_does_not_need_explains_nothing():
    assert explain(BUG, [LOST], CPU) == BUG
    vulkan = Finding("vulkan.no-icd", "error", "no driver file")
    assert explain(BUG, [vulkan], GPU) == BUG
    assert explain(BUG, [vulkan], DRAWN).cause == "node"
    apptainer = Finding("apptainer.absent", "error", "there is no apptainer")
    assert explain(BUG, [apptainer], CPU) == BUG
    assert explain(BUG, [apptainer], GPU).cause == "node"
    assert explain(BUG, [LOST, vulkan], DRAWN).why.endswith("[vulkan.no-icd]")


def test_only_errors_explain_and_only_what_is_not_explained():
    assert explain(BUG, [replace(LOST, level="warning")], GPU) == BUG
    assert explain(BUG, [replace(LOST, level="unknown")], GPU) == BUG
    assert explain(BUG, [], GPU) == BUG
    for good in (
        Ending("done"),
        Ending("checkpointed", code=75),
        Ending("fatal", code=2),
        replace(BUG, code=76),
    ):
        assert explain(good, [LOST], GPU) == good


def test_what_comes_back_everywhere_is_not_tried_again():
    undrawn = Ending("retryable", "node", "exit 3: nothing could be drawn", code=3)
    mig = Finding("gpu.mig", "error", "a slice of a GPU", "no Vulkan on MIG", "a whole GPU")
    told = explain(undrawn, [mig], GPU)
    assert (told.verdict, told.cause, told.hint) == ("fatal", "", "a whole GPU")
    library = Finding("libraries.x11", "error", "no libX11.so.6", place="image on n1")
    assert explain(undrawn, [library], DRAWN).verdict == "fatal"


def test_nobodys_fault_speaks_for_the_killed_only_and_changes_no_verdict():
    shm = Finding("shm.small", "error", "64 MB are free in /dev/shm", "Bus error")
    killed = explain(CRASH, [shm], GPU)
    assert (killed.verdict, killed.cause) == ("retryable", "crash")
    assert killed.why == "killed by SIGSEGV; 64 MB are free in /dev/shm: Bus error [shm.small]"
    assert explain(BUG, [shm], GPU) == BUG
    assert explain(CRASH, [Finding("network.name", "error", "no address")], GPU) == CRASH
    assert explain(BUG, [shm, LOST], GPU).cause == "node"
