"""Which side of an evaluation gets which GPU, and which driver draws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stair.cluster.profile import ClusterProfile
from stair.errors import StairError, UsageError
from stair.evaluate.config import EvalConfig
from stair.submit.job import EvalJob, Resources
from stair.submit.layout import Placing, is_address, place_evaluation, side_variables
from tests.submit.scripted import a_step

THEIRS = "ws://gpu7:8000"
GPUS = ClusterProfile(name="big", executor="slurm", gpus_per_node=8)
NO_GPUS = ClusterProfile(name="small", executor="slurm", gpus_per_node=0)
HERE = ClusterProfile()


def a_job(*, simulator: str = "maniskill3", gpus: int = -1, render: str = "", **more: str) -> EvalJob:
    config = EvalConfig(simulator=simulator, render=render)  # type: ignore[arg-type]
    return EvalJob(eval=config, resources=Resources(gpus=gpus), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("job", "profile", "placing"),
    [
        (a_job(), GPUS, Placing("colocated", "nvidia", 1)),
        (a_job(gpus=2), GPUS, Placing("split", "nvidia", 2)),
        (a_job(gpus=2, layout="colocated"), GPUS, Placing("colocated", "nvidia", 2)),
        (a_job(layout="split"), GPUS, Placing("split", "nvidia", 2)),
        (a_job(layout="cpu-render"), GPUS, Placing("cpu-render", "cpu", 1)),
        (a_job(layout="cpu-render", gpus=0), GPUS, Placing("cpu-render", "cpu", 0)),
        (a_job(render="cpu"), GPUS, Placing("cpu-render", "cpu", 1)),
        (a_job(render="nvidia"), GPUS, Placing("colocated", "nvidia", 1)),
        (a_job(gpus=0), GPUS, Placing("cpu-render", "cpu", 0)),
        (a_job(), NO_GPUS, Placing("cpu-render", "cpu", 0)),
        (a_job(), HERE, Placing("cpu-render", "cpu", 0)),
        (a_job(render="nvidia"), HERE, Placing("colocated", "nvidia", 0)),
        (a_job(policy=THEIRS), GPUS, Placing("colocated", "nvidia", 1)),
        (a_job(policy=THEIRS, gpus=2), GPUS, Placing("colocated", "nvidia", 2)),
        (a_job(policy=THEIRS, layout="cpu-render"), GPUS, Placing("cpu-render", "cpu", 0)),
        (a_job(policy=THEIRS, render="cpu"), GPUS, Placing("cpu-render", "cpu", 0)),
        (a_job(simulator="tabletop"), GPUS, Placing("cpu-render", "", 1)),
        (a_job(simulator="tabletop", gpus=2), GPUS, Placing("cpu-render", "", 2)),
        (a_job(simulator="tabletop", policy=THEIRS), GPUS, Placing("cpu-render", "", 0)),
        (a_job(simulator="simpler"), GPUS, Placing("colocated", "nvidia", 1)),
    ],
)
def test_layout_driver_and_gpus_are_decided_before_anything_is_sent(job, profile, placing):
    assert place_evaluation(job, profile) == placing


@pytest.mark.parametrize(
    ("job", "profile", "message", "hint"),
    [
        (a_job(layout="split", gpus=1), GPUS, "1 is asked for of 'big'", "--eval.resources.gpus 2"),
        (a_job(layout="split"), NO_GPUS, "0 are asked for of 'small'", "--eval.layout cpu-render"),
        (a_job(layout="split"), HERE, "0 are asked for", "--eval.resources.gpus 2"),
        (a_job(layout="split"), replace(GPUS, gpus_per_node=1), "1 is asked for", "gpus 2"),
        (a_job(render="nvidia"), NO_GPUS, "eval.render nvidia needs a GPU", "--eval.resources.gpus 1"),
        (a_job(render="nvidia", gpus=0), HERE, "eval.render nvidia needs a GPU", "cpu-render"),
        (a_job(layout="colocated", gpus=0), GPUS, "layout colocated needs a GPU", "cpu-render"),
        (a_job(layout="cpu-render", render="nvidia"), GPUS, "on CPU cores", "leave --eval.layout"),
        (a_job(layout="split", render="cpu"), GPUS, "eval.render cpu", "--eval.layout cpu-render"),
        (a_job(layout="split", policy=THEIRS), GPUS, f"{THEIRS} is there already", "leave the layout"),
        (a_job(layout="colocated", simulator="tabletop"), GPUS, "tabletop draws without", "leave"),
    ],
)
def test_what_contradicts_itself_or_lacks_gpus_is_refused(job, profile, message: str, hint: str):
    with pytest.raises(UsageError) as caught:
        place_evaluation(job, profile, "eval.")
    assert message in caught.value.what
    assert hint in caught.value.hint


def test_a_policy_is_a_folder_or_an_address():
    assert is_address("ws://gpu7:8000")
    assert is_address("wss://lab.example/policy")
    assert not is_address("runs/stage2")
    assert not is_address("")
    for neither, cure in (("gpu7:8000", "ws://gpu7:8000"), ("http://gpu7:80", "ws://gpu7:80")):
        with pytest.raises(UsageError) as caught:
            is_address(neither)
        assert cure in caught.value.hint


SERVER, SIMULATORS = ("serve",), ("evaluate",)


def sides(tmp_path: Path, layout: str, given: dict[str, str], gpus: int = 2) -> list[dict[str, str]]:
    step = replace(a_step(tmp_path, "eval", ""), argv=SIMULATORS, server=SERVER, layout=layout, gpus=gpus)
    return [side_variables(step, argv, given) for argv in (SERVER, SIMULATORS)]


def test_split_gives_the_server_the_first_gpu_and_the_simulators_the_others(tmp_path: Path):
    server, simulators = sides(tmp_path, "split", {"CUDA_VISIBLE_DEVICES": "4,GPU-5,6"})
    assert server == {"CUDA_VISIBLE_DEVICES": "4"}
    assert simulators == {"CUDA_VISIBLE_DEVICES": "GPU-5,6", "OMP_NUM_THREADS": "1"}
    server, simulators = sides(tmp_path, "split", {})  # a machine that names none
    assert (server["CUDA_VISIBLE_DEVICES"], simulators["CUDA_VISIBLE_DEVICES"]) == ("0", "1")


@pytest.mark.parametrize("shown", ["", "3", "3,"])
def test_split_with_one_gpu_on_the_node_is_an_error_there(tmp_path: Path, shown: str):
    with pytest.raises(StairError, match=f"needs two GPUs, and CUDA_VISIBLE_DEVICES is '{shown}'"):
        sides(tmp_path, "split", {"CUDA_VISIBLE_DEVICES": shown})


def test_with_cpu_render_only_the_server_sees_gpus(tmp_path: Path):
    server, simulators = sides(tmp_path, "cpu-render", {"CUDA_VISIBLE_DEVICES": "2"}, gpus=1)
    assert server == {}
    assert simulators["CUDA_VISIBLE_DEVICES"] == ""


def test_colocated_both_sides_see_all_gpus_and_other_steps_are_left_alone(tmp_path: Path):
    server, simulators = sides(tmp_path, "colocated", {"CUDA_VISIBLE_DEVICES": "2"})
    assert (server, simulators) == ({}, {"OMP_NUM_THREADS": "1"})
    assert sides(tmp_path, "", {"CUDA_VISIBLE_DEVICES": "2"}) == [{}, {}]
