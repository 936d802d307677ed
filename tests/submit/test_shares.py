"""An evaluation is counted, shared out and described without a simulator; commands follow from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stair.cluster.container import ContainerConfig
from stair.cluster.profile import ClusterProfile, SlurmConfig
from stair.errors import UsageError
from stair.submit.job import Chain
from stair.submit.plan import Step
from stair.submit.planning import make_plan
from stair.submit.recipe import make_chain, read_recipe
from stair.submit.shares import describe, notes

IMAGES = ContainerConfig(train_image="/i/train.sif", eval_image="/i/eval.sif")
SLURM = ClusterProfile(
    name="big", executor="slurm", gpus_per_node=8, slurm=SlurmConfig(cores_per_process=8), container=IMAGES
)
BARE = replace(SLURM, container=ContainerConfig())
NO_GPUS = replace(SLURM, gpus_per_node=0)
CARROT = ("eval.tasks", ["widowx_carrot_on_plate"])
WIDOWX = ("eval.simulator", "simpler")


def chain_of(recipe: str, *pairs: tuple[str, object]) -> Chain:
    return make_chain(recipe, read_recipe(recipe), pairs)


def steps_of(recipe: str, *pairs: tuple[str, object], profile: ClusterProfile = SLURM) -> tuple[Step, ...]:
    return make_plan(chain_of(recipe, *pairs), profile, Path("/runs/x"), cwd=Path("/home/me")).steps


def test_a_folder_is_served_by_every_member_in_the_train_image():
    (step,) = steps_of("eval-widowx", WIDOWX, ("policy", "/models/mine"))
    assert step.server[step.server.index("/i/train.sif") + 1 :][:5] == (
        *("python", "-m", "stair.serve", "--model", "/models/mine"),
    )
    assert step.reads == {"policy": "/models/mine"}
    assert step.members == 4
    assert step.argv[step.argv.index("--policy") + 1] == "/runs/x/members/{member}.address"


def test_an_address_is_used_by_all_members_and_nothing_is_served():
    (step,) = steps_of("eval-widowx", WIDOWX, ("policy", "ws://gpu7:8000"), ("layout", "cpu-render"))
    assert step.server == ()
    assert step.argv[step.argv.index("--policy") + 1] == "ws://gpu7:8000"
    assert step.argv[-2:] == ("--shard", "{member}")
    assert (step.gpus, step.members, step.reads) == (0, 4, {})


def test_a_policy_takes_the_place_of_a_recipes_model_in_every_evaluation_of_a_chain():
    chain = make_chain("demo", read_recipe("demo"), [("policy", "ws://gpu7:8000")])
    plan = make_plan(chain, ClusterProfile(), Path("/runs/x"), cwd=Path("/home/me"))
    assert plan.step("eval").server == ()
    assert plan.step("eval").needs == ()
    served = steps_of("eval-all", ("policy", "/models/mine"), ("widowx.eval.simulator", "simpler"))
    assert [step.reads for step in served] == [{"policy": "/models/mine"}] * 2 + [{}]
    assert served[2].needs == ("widowx", "google")


def test_a_model_is_served_as_before():
    (step,) = steps_of("eval-tabletop", ("model", "/models/mine"), profile=ClusterProfile())
    assert step.server[step.server.index("--model") + 1] == "/models/mine"
    assert step.reads == {"model": "/models/mine"}


@pytest.mark.parametrize(
    ("pairs", "nv", "render"),
    [
        ([], (True, True), "nvidia"),
        ([("layout", "split")], (True, True), "nvidia"),
        ([("layout", "cpu-render")], (True, False), "cpu"),
        ([("layout", "cpu-render"), ("resources.gpus", 0)], (False, False), "cpu"),
    ],
)
def test_only_the_sides_that_use_a_gpu_get_the_driver_and_the_plan_names_who_draws(pairs, nv, render: str):
    (step,) = steps_of("eval-widowx", WIDOWX, *pairs)
    assert ("--nv" in step.server, "--nv" in step.argv) == nv
    assert step.argv[step.argv.index("--render") + 1] == render
    assert step.settings["eval"]["render"] == render
    assert ("CUDA_DEVICE_ORDER" in step.environment) == (render == "nvidia")


def test_cores_are_shared_among_the_simulators_that_draw_on_them():
    (step,) = steps_of("eval-widowx", WIDOWX, ("layout", "cpu-render"), ("resources.cores", 9))
    assert step.environment["LP_NUM_THREADS"] == "2"


def test_each_simulator_runs_in_the_python_of_the_eval_image_that_has_it():
    def python(*pairs: tuple[str, object], profile: ClusterProfile = SLURM) -> str:
        (step,) = steps_of("eval-widowx", *pairs, profile=profile)
        return step.argv[step.argv.index("stair.evaluate") - 2]

    assert python(WIDOWX) == "/opt/stair/sapien2/bin/python"
    assert python(("eval.simulator", "tabletop"), ("eval.tasks", ["tabletop_put_block"])) == "python"
    assert "sapien2" not in python(WIDOWX, profile=BARE)


def test_assets_are_bound_read_only_and_looked_for_beforehand():
    (step,) = steps_of("eval-widowx", WIDOWX, ("eval.assets", "/shared/assets"))
    assert step.reads["eval.assets"] == "/shared/assets"
    bind = 'type=bind,"source=/shared/assets","destination=/shared/assets",ro'
    assert bind in step.argv


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("eval.tasks", ["widowx_carot_on_plate"]), "unknown task of simpler 'widowx_carot_on_plate'"),
        (("eval.variants", ["vm-arm9"]), "unknown variant of widowx_"),
        (("eval.first_episode", 24), "has no layout 24"),
        (("eval.simulator", "sapien"), "unknown simulator 'sapien'"),
    ],
)
def test_tasks_variants_and_layouts_that_do_not_exist_are_refused_before_anything_is_sent(pair, message):
    with pytest.raises(UsageError, match=message):
        steps_of("eval-widowx", WIDOWX, pair)


def test_ray_traced_tasks_are_refused_where_no_gpu_draws():
    with pytest.raises(UsageError, match="drawer is ray-traced") as caught:
        steps_of("eval-all", ("layout", "cpu-render"), ("widowx.eval.simulator", "simpler"))
    assert "--google.resources.gpus 1" in caught.value.hint
    assert steps_of("eval-google", ("layout", "cpu-render"), ("eval.tasks", ["google_robot_move_near"]))


def test_there_are_no_more_members_than_episodes_and_one_on_this_machine():
    few = (WIDOWX, CARROT, ("eval.episodes", 3), ("resources.members", 8))
    (step,) = steps_of("eval-widowx", *few)
    assert step.members == step.settings["eval"]["shards"] == 3
    (alone,) = steps_of("eval-widowx", *few, profile=ClusterProfile())
    assert alone.members == 1
    assert "--shard" not in alone.argv
    assert next(notes(chain_of("eval-widowx", *few), SLURM)) == (
        "step eval: 8 members were asked for, there are 3 episodes: 3 will play"
    )
    assert "'local' is one machine" in next(notes(chain_of("eval-widowx", *few), ClusterProfile()))


def test_what_will_be_played_is_told_in_a_line():
    (line,) = describe(chain_of("eval-google"), SLURM)
    assert line == (
        "step eval: 2,586 episodes of 5 tasks in 58 variants in simpler, 32 members of 81 episodes at most; "
        "drawn on the GPU (layout colocated)"
    )
    theirs = (("policy", "ws://127.0.0.1:8000"), ("eval.tasks", ["tabletop_put_block"]))
    chain = chain_of("eval-tabletop", *theirs, ("eval.episodes", 5))
    assert list(describe(chain, BARE)) == [
        "step eval: 5 episodes of 1 task in tabletop, 1 member; policy at ws://127.0.0.1:8000"
    ]
    assert list(notes(chain, BARE)) == [
        "step eval: ws://127.0.0.1:8000 is on every node that node itself, not this machine"
    ]


def test_sharing_a_gpu_is_told_to_be_at_ones_own_risk():
    assert "--layout split with two GPUs" in next(notes(chain_of("eval-widowx", WIDOWX), SLURM))
    assert list(notes(chain_of("eval-widowx", WIDOWX, ("layout", "split")), BARE)) == []


def test_assets_that_nobody_named_and_layouts_that_do_not_exist_are_told_beforehand():
    told = list(notes(chain_of("eval-widowx", WIDOWX, CARROT, ("eval.episodes", 30)), NO_GPUS))
    assert told == [
        "step eval: no eval.assets are named; unless the image has some, no episode will begin",
        "step eval: widowx_carrot_on_plate has 24 layouts, fewer than the 30 asked for: each is played once "
        "(for repeats, choose another --seed and another --run)",
    ]
    own = (("eval.tasks", ["maniskill_pick_cube"]), ("eval.episodes", 4))
    assert list(notes(chain_of("eval-widowx", *own), NO_GPUS)) == []
