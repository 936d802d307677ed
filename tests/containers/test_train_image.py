"""The real cpu image, as a job uses it: read-only, in an environment that knows nothing of the host."""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path

import pytest

from containers.order import Order, lock_digest, lock_pins
from stair.cluster.image import check_image, inspect_image
from tests.containers.baked import addresses_of_this_machine
from tests.containers.train_image import TrainImage

CPU = Order(variant="cpu")


def test_the_self_test_passes_on_the_finished_file(train_image: TrainImage):
    done = train_image.run(command="test", timeout_s=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "selftest ok: cpu, python 3.11" in done.stdout


def test_labels_say_what_it_is_and_apptainer_reads_the_same(train_image: TrainImage):
    facts = inspect_image(train_image.path)
    assert (facts.kind, facts.variant) == ("train", "cpu")
    assert facts.torch == lock_pins(CPU.locks["train.lock"].read_text())["torch"]
    assert facts.labels["stair.lock_sha256"] == lock_digest(CPU)
    assert re.fullmatch(r"([0-9a-f]{40}|unknown)(-dirty)?", facts.labels["stair.commit"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", facts.labels["stair.date"])
    assert check_image(facts, machine=platform.machine()) == []
    words = [str(train_image.apptainer), "inspect", "--labels", str(train_image.path)]
    told = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
    assert dict(line.split(": ", 1) for line in told.strip().splitlines()) == facts.labels


def test_stair_comes_from_its_fixed_place(train_image: TrainImage):
    place = train_image.says("python", "-c", "import stair; print(stair.__file__)")
    assert place == "/opt/stair/src/stair/__init__.py"


def test_a_snapshot_bound_over_the_fixed_place_wins(train_image: TrainImage, tmp_path: Path):
    (tmp_path / "stair").mkdir()
    (tmp_path / "stair" / "__init__.py").write_text('__version__ = "of the snapshot"\n')
    bind = ("--bind", f"{tmp_path}:/opt/stair/src:ro")
    assert train_image.says("python", "-c", "import stair; print(stair.__version__)", options=bind) == (
        "of the snapshot"
    )


def test_nothing_of_the_hosts_variables_gets_in(train_image: TrainImage, tmp_path: Path):
    (tmp_path / "stair.py").write_text("raise SystemExit('the host leaked in')\n")
    leaks = {"PYTHONPATH": str(tmp_path), "PIP_INDEX_URL": "http://leak", "STAIR_LEAK": "1"}
    lines = train_image.says("python", "-c", "import os, stair; print(dict(os.environ))", env=leaks)
    assert "leak" not in lines.lower()
    assert "'STAIR_IMAGE_KIND': 'train'" in lines
    assert "'PYTHONPATH': '/opt/stair/src'" in lines


def test_steps_run_where_there_is_no_home_and_nothing_can_be_written(train_image: TrainImage):
    for module in ("stair.train", "stair.serve", "stair.evaluate", "stair.collect"):
        said = train_image.says("python", "-m", module, "--help", options=("--no-home", "--pwd", "/"))
        assert said, module


def test_no_configuration_of_pip_and_no_certificate_of_the_host_is_left(train_image: TrainImage):
    find = "find / -xdev ( -name pip.conf -o -name ca.crt -o -name direct_url.json ) -not -path /proc/*"
    assert train_image.says(*find.split()) == ""
    assert train_image.says("ls", "-A", "/mnt") == ""
    assert "tmp" not in train_image.says("ls", "-A", "/opt/stair").split()
    assert train_image.says("pip", "config", "list") == ""


def test_no_address_of_this_machines_mirrors_is_left(train_image: TrainImage):
    places = (
        "/etc",
        "/.singularity.d",
        "/opt/stair/freeze.txt",
        "/opt/stair/train.lock",
        "/var/lib/dpkg/status",
    )
    found = train_image.says(
        "sh", "-c", 'grep -rlE -e "$0" "$@" || true', addresses_of_this_machine(), *places
    )
    assert found == ""


@pytest.mark.parametrize("name", ["train.lock", "freeze.txt"])
def test_the_image_says_itself_what_is_in_it(train_image: TrainImage, name: str):
    assert "torch==2.13.0+cpu" in train_image.says("cat", f"/opt/stair/{name}")
