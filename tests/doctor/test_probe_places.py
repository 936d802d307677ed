"""The probe where nothing else is installed: a bare Debian root, and the real evaluation image over stdin."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from containers.base import mirror_lines, read_targets
from stair.doctor import probe
from tests.containers.baked import CHECKOUT, BakedImage
from tests.containers.eval_image import eval_image  # noqa: F401
from tests.doctor.probing import PROBE, check_shape

BARE = CHECKOUT / "build" / "bases" / "bookworm-python3-minimal"
"""A tree of python3-minimal and what it depends on, 44 MB: made once, in a quarter of a minute."""


@pytest.fixture(scope="session")
def bare_root() -> Path:
    """A Debian root with an interpreter and next to nothing else: no shell, no /proc, no /dev/null."""
    if os.getuid() != 0:
        pytest.skip("changing the root needs root")
    BARE.parent.mkdir(parents=True, exist_ok=True)
    with open(BARE.parent / f".{BARE.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the workers of pytest-xdist wait for the first one
        if not BARE.is_dir():
            make_bare_root()
    return BARE


def make_bare_root() -> None:
    mirrors = mirror_lines(read_targets(), "bookworm") if shutil.which("mmdebstrap") else []
    if not mirrors:
        pytest.skip("no mmdebstrap, or apt knows no mirror of Debian bookworm")
    tar, tree = BARE.with_suffix(".tar"), BARE.with_suffix(".making")
    shutil.rmtree(tree, ignore_errors=True)
    words = ["mmdebstrap", "--variant=extract", "--include=python3-minimal", "bookworm", str(tar), *mirrors]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=300)
        if done.returncode:
            pytest.skip(f"mmdebstrap could not make a bare root: {done.stderr[-300:]}")
        tree.mkdir()
        left_out = (
            "./dev/*",
            "./etc/apt",
            "./etc/resolv.conf",
            "./etc/hostname",
            "./var/cache/apt",
            "./var/lib/apt",
        )
        words = ["tar", "-C", str(tree), "-xf", str(tar), *(f"--exclude={pattern}" for pattern in left_out)]
        subprocess.run(words, check=True, timeout=120)
        tree.rename(BARE)
    finally:
        tar.unlink(missing_ok=True)


def test_an_interpreter_in_a_bare_debian_root_is_enough(bare_root: Path):
    done = subprocess.run(
        [
            shutil.which("chroot") or "chroot",
            str(bare_root),
            "/usr/bin/python3",
            "-",
            "/tmp",
            "--timeout",
            "20",
        ],
        stdin=PROBE.open(),
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": "/usr/bin"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    sheet = json.loads(done.stdout)
    check_shape(sheet)
    failed = {name: sheet[name]["failed"] for name in probe.SECTIONS if "failed" in (sheet[name] or ())}
    lacking = "this Python has no ctypes"
    assert failed == dict.fromkeys(("nvml", "cuda", "libraries", "vulkan"), lacking)
    assert sheet["python"]["executable"] == "/usr/bin/python3"
    assert sheet["disks"][0]["writable"]
    assert sheet["system"]["libc"].startswith("glibc")


def test_piped_into_the_evaluation_image_it_sees_the_images_renderer(eval_image: BakedImage):  # noqa: F811
    words = [str(eval_image.apptainer), "exec", "--containall", "--cleanenv", str(eval_image.path)]
    done = subprocess.run(
        [*words, "python3", "-", "/tmp", "--timeout", "20"],
        stdin=PROBE.open(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    sheet = json.loads(done.stdout)
    check_shape(sheet)
    assert [name for name in probe.SECTIONS if "failed" in (sheet[name] or ())] == []
    assert sheet["inside"] == "apptainer"
    assert sheet["image"]["labels"]["stair.kind"] == "eval"
    assert sheet["image"]["path"] == str(eval_image.path)
    assert sheet["python"]["packages"]["sapien"]
    vulkan = sheet["vulkan"]
    assert vulkan["named_by"] == "VK_DRIVER_FILES"
    assert vulkan["instance"] == {"code": 0, "name": "VK_SUCCESS"}
    (device,) = vulkan["devices"]
    assert device["type"] == "cpu"
    assert device["lacks"] == {"sapien2": [], "sapien3": []}
    assert [entry["name"] for entry in sheet["libraries"] if not entry["loads"]] == []
