"""A node that is broken on purpose is left, by its finding, and the job ends on the other one.

Both nodes are mount namespaces of this machine: what is bound over /dev, /proc/driver or a folder in one of
them, the other does not see.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml

from stair.cluster.ledger import read_attempts
from stair.doctor.record import read_findings
from stair.rundir import RunDir
from tests.containers.baked import CHECKOUT
from tests.containers.eval_image import EvalImage, eval_image  # noqa: F401
from tests.containers.train_image import TrainImage, train_image  # noqa: F401
from tests.slurm.live import LiveSlurm
from tests.slurm.person import Person, make_model, make_person
from tools.devslurm.daemons import daemons

# A /dev of its own with further device files (of /dev/null), and the /proc of a driver with one GPU.
DRIVER = """
mount -t tmpfs tmpfs "$1"
for entry in /dev/*; do
    name=${entry##*/}
    if [ -d "$entry" ] && [ ! -L "$entry" ]; then mkdir "$1/$name"; mount --rbind "$entry" "$1/$name"
    else cp -a "$entry" "$1/$name"; fi
done
for name in $2; do mknod -m 666 "$1/$name" c 1 3; done
mount --rbind "$1" /dev
mount -t tmpfs tmpfs /proc/driver
gpu=/proc/driver/nvidia/gpus/0000:17:00.0
mkdir -p $gpu
printf 'Model: \\t\\t NVIDIA H100 80GB HBM3\\nGPU UUID: \\t GPU-1\\nDevice Minor: \\t 0\\n' > $gpu/information
echo 'NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.124.06  Wed Feb 26 02:26:17 UTC 2025' \\
    > /proc/driver/nvidia/version
"""
NO_DRIVER = "umount --lazy /proc/driver; umount --lazy /dev"
CONTROL = "nvidiactl nvidia-uvm nvidia-modeset"
USES_GPU = """
import glob, socket, sys, time
while not glob.glob(f"{sys.argv[1]}/doctor/*-{socket.gethostname()}.json"):
    time.sleep(0.05)
open("/dev/nvidia0").close()
"""


def on(slurm: LiveSlurm, node: str, script: str, *words: str) -> None:
    """Runs a script in the mount namespace of a node's slurmd, and so of its jobs."""
    (daemon,) = (one for one in daemons(slurm.cluster) if one.process == "slurmd" and one.name == node)
    enter = ["nsenter", f"--mount=/proc/{daemon.pid}/ns/mnt", "sh", "-euc", script, "sh", *words]
    subprocess.run(enter, check=True, timeout=120, capture_output=True)


@contextmanager
def changed(slurm: LiveSlurm, node: str, script: str, undo: str, words: Sequence[str]) -> Iterator[None]:
    on(slurm, node, script, *words)
    try:
        yield
    finally:
        on(slurm, node, undo, *words)


@contextmanager
def drivers(slurm: LiveSlurm, folder: Path, **devices: str) -> Iterator[None]:
    """Nodes with a driver and these device files."""
    with ExitStack() as stack:
        for node, names in devices.items():
            (folder / node).mkdir(parents=True)
            stack.enter_context(changed(slurm, node, DRIVER, NO_DRIVER, [str(folder / node), names]))
        yield


def finishes(person: Person, run: str) -> dict[str, object]:
    return person.waits_for(run, timeout_s=300)


def test_a_gpu_without_its_device_file_is_the_nodes_fault_and_the_job_ends_on_the_other(
    slurm: LiveSlurm, tmp_path: Path
):
    person = make_person(slurm, tmp_path / "work", gpus_per_node=8)
    profile = person.folder / "slurm" / "mine.yaml"
    tree = yaml.safe_load(profile.read_text())
    tree["slurm"]["gres"] = "gpu:h100"  # n1 and n2 have those
    profile.write_text(yaml.safe_dump(tree))
    wanted = {"gpus": 1, "hours": 0.1, "cores": 1, "mem_gb": 0.5}
    argv = [sys.executable, "-c", USES_GPU, "{run}"]
    recipe = {"kind": "command", "about": "a GPU", "image": "none", "argv": argv, "resources": wanted}
    (person.folder / "gpu.yaml").write_text(yaml.safe_dump(recipe))
    with drivers(slurm, tmp_path / "dev", n1=CONTROL, n2=f"{CONTROL} nvidia0"):
        person.submits("gpu.yaml", "--run", "run")
        report = finishes(person, "run")
    run = RunDir(person.folder / "run")
    first, second = read_attempts(run, "command")
    assert (first.nodes, first.verdict, first.cause, first.unfit) == (("n1",), "retryable", "node", ("n1",))
    assert first.why.startswith("exit 1: FileNotFoundError")
    assert re.search(r"\[driver\.[a-z-]+\]$", first.why), first.why  # the fake one has no libcuda either
    assert "driver.node-missing" in first.findings
    assert first.hint
    assert (second.nodes, second.verdict) == (("n2",), "done")
    assert report["state"] == "done"
    for attempt, node in ((first, "n1"), (second, "n2")):
        sheet = json.loads(run.fact_sheet(attempt.job, 0, node).read_text())
        assert sheet["visits"][0]["name"] == node
        assert sheet["visits"][0]["host"]["driver"]["version"] == "570.124.06"
        assert sheet["visits"][0]["request"]["gpus_per_node"] == 1
    at_the_end = read_findings(run.fact_sheet(first.job, 0, "n1", "end"))
    assert "driver.node-missing" in [one.id for one in at_the_end]
    assert "── doctor: error: /dev/nvidia0: no such file" in (run.logs / "command.log").read_text()
    said = person.calls("stair-report", "run").stdout
    assert "on n1: retryable" in said
    assert re.search(r"\[driver\.[a-z-]+\].*driver\.node-missing; sent again as \d", said), said


@pytest.mark.slow
def test_an_evaluation_leaves_a_node_whose_driver_file_leads_to_nothing(
    slurm: LiveSlurm,
    train_image: TrainImage,  # noqa: F811
    eval_image: EvalImage,  # noqa: F811
    tmp_path: Path,
):
    good, bad = tmp_path / "icd", tmp_path / "broken"
    for folder, library in ((good, "libvulkan_lvp.so"), (bad, "libvulkan_lvp_gone.so")):
        shutil.copytree(CHECKOUT / "containers" / "icd", folder)
        driver = {"api_version": "1.4.0", "library_path": library}
        (folder / "lvp_icd.json").write_text(json.dumps({"ICD": driver, "file_format_version": "1.0.0"}))
    images = {"train_image": str(train_image.path), "eval_image": str(eval_image.path)}
    images |= {"binds": [f"{good}:/opt/stair/icd:ro"]}
    person = make_person(slurm, tmp_path / "work", container=images)
    model = make_model(tmp_path / "model", "bridge_orig", "maniskill_panda")
    words = ["--policy", str(model), "--resources.members", "1", "--resources.cores", "1", "--hours", "0.2"]
    words += ["--eval.tasks", "[maniskill_pick_cube]", "--eval.episodes", "1", "--eval.workers", "1"]
    words += ["--eval.max_steps", "3", "--eval.pitfalls", "say", "--run", "run"]
    bind = ['mount --bind "$1" "$2"', 'umount --lazy "$2"', [str(bad), str(good)]]
    with changed(slurm, "n1", *bind):
        person.submits("eval-widowx", *words)
        finishes(person, "run")
    run = RunDir(person.folder / "run")
    first, second, *_ = (one for name in ("eval", "eval-widowx") for one in read_attempts(run, name))
    assert (first.nodes, first.verdict, first.cause, first.unfit) == (("n1",), "retryable", "node", ("n1",))
    assert "libvulkan_lvp_gone.so" in first.why
    assert first.why.endswith("[vulkan.icd-library]")
    assert first.hint
    assert second.verdict == "done"
    assert second.nodes != ("n1",)
