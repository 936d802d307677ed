"""A chain and a profile become a plan, or a refusal."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from stair.cluster.container import ContainerConfig
from stair.cluster.profile import ClusterProfile
from stair.errors import StairError, UsageError
from stair.submit.plan import Plan, Step, differing_settings, make_plan, read_plan
from stair.submit.recipe import make_chain, read_recipe

RUN = Path("/runs/x")
CWD = Path("/home/me")


def plan_of(recipe: str, *pairs: tuple[str, object], profile: ClusterProfile | None = None) -> Plan:
    chain = make_chain(recipe, read_recipe(recipe), pairs)
    return make_plan(chain, profile or ClusterProfile(), RUN, cwd=CWD)


def step_of(plan: Plan, name: str) -> Step:
    return next(step for step in plan.steps if step.name == name)


def test_a_plan_read_back_from_its_text_is_the_same_plan(tmp_path: Path):
    plan = plan_of("demo")
    file = tmp_path / "plan.json"
    file.write_text(plan.text())
    assert read_plan(file) == plan
    assert read_plan(file).text() == plan.text()
    assert [step.digest() for step in read_plan(file).steps] == [step.digest() for step in plan.steps]


def test_what_is_no_plan_is_refused(tmp_path: Path):
    file = tmp_path / "plan.json"
    for content in ("", "[]", '{"steps": [{"name": 1}]}', '{"steps": 3}'):
        file.write_text(content)
        with pytest.raises(StairError, match="is no plan"):
            read_plan(file)


def test_steps_of_a_chain_have_folders_and_needs():
    plan = plan_of("demo")
    assert [step.folder for step in plan.steps] == [f"/runs/x/{step.name}" for step in plan.steps]
    assert step_of(plan, "stage1").needs == ("collect",)
    assert step_of(plan, "stage2").needs == ("collect", "stage1")
    assert "stage2" in step_of(plan, "eval").needs
    assert "eval" in step_of(plan, "report").needs


def test_a_single_job_fills_the_run_folder_itself():
    (step,) = plan_of("stage1").steps
    assert step.folder == "/runs/x"
    assert step.settings["train"]["run"] == "/runs/x"


def test_placeholders_become_the_run_folder():
    train = step_of(plan_of("demo"), "stage2").settings["train"]
    assert train["init_from"] == "/runs/x/stage1"
    assert train["data"]["root"] == "/runs/x/collect"
    assert train["inputs"]["language"]["template"].count("{instruction}") == 1


def test_an_unknown_placeholder_is_refused():
    with pytest.raises(UsageError, match="unknown placeholder 'rum'"):
        plan_of("demo", ("stage2.train.init_from", "{rum}/stage1"))


def test_a_step_that_reads_what_only_a_later_one_makes_is_refused():
    with pytest.raises(UsageError, match="later step stage2"):
        plan_of("demo", ("stage1.train.init_from", "{run}/stage2"))


def test_training_in_one_process_is_plain_and_in_several_goes_through_torchrun():
    (alone,) = plan_of("stage1", ("processes", 1)).steps
    assert alone.argv == (sys.executable, "-m", "stair.train", "--config", "/runs/x/settings.yaml")
    (several,) = plan_of("stage1", ("processes", 4), profile=ClusterProfile(cores=16)).steps
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4")
    assert several.argv == (alone.argv[0], *launch, *alone.argv[1:])
    assert several.environment["OMP_NUM_THREADS"] == "4"


def test_an_evaluation_starts_its_server_and_finds_it_through_a_file():
    step = step_of(plan_of("demo"), "eval")
    where = "/runs/x/eval/server.address"
    assert step.server[1:5] == ("-m", "stair.serve", "--model", "/runs/x/stage2")
    assert step.server[step.server.index("--address_file") + 1] == where
    assert step.server[step.server.index("--port") + 1] == "0"
    assert step.argv[step.argv.index("--policy") + 1] == where
    assert str(step.address_file) == where


def test_inside_an_image_the_same_commands_are_wrapped():
    container = ContainerConfig(train_image="/images/train.sif", eval_image="/images/eval.sif")
    step = step_of(plan_of("demo", profile=ClusterProfile(container=container, gpus_per_node=8)), "eval")
    bare = step_of(plan_of("demo"), "eval")
    for wrapped, plain, image in (
        (step.argv, bare.argv, "/images/eval.sif"),
        (step.server, bare.server, "/images/train.sif"),
    ):
        assert wrapped[:2] == ("apptainer", "exec")
        assert "--nv" in wrapped
        assert wrapped[wrapped.index(image) :] == (image, "python", *plain[1:])
        assert "/runs/x" in wrapped


@pytest.mark.parametrize(
    ("pairs", "profile", "message"),
    [
        ([("nodes", 2)], ClusterProfile(), "one machine"),
        ([("processes", 9)], ClusterProfile(cores=8), "8 cores"),
        ([("processes", 9)], ClusterProfile(gpus_per_node=8), "8 GPUs"),
        ([("processes", 0)], ClusterProfile(), "asks for nothing"),
        ([("hours", 0)], ClusterProfile(), "asks for nothing"),
        ([("processes", 3)], ClusterProfile(), "does not divide"),
        ([], ClusterProfile(executor="slurm"), "Slurm"),
    ],
)
def test_what_cannot_be_is_refused(pairs, profile: ClusterProfile, message: str):
    with pytest.raises(UsageError, match=message):
        plan_of("stage1", *pairs, profile=profile)


def test_stage_2_without_a_stage_1_model_is_refused_unless_direct():
    with pytest.raises(UsageError, match="stage-1 model"):
        plan_of("stage2", ("train.init_from", ""))
    assert plan_of("stage2", ("train.init_from", ""), ("train.direct", True)).steps


def test_collection_out_of_range_is_refused_before_anything_runs():
    with pytest.raises(UsageError, match="episodes"):
        plan_of("demo", ("collect.collect.episodes", 0))


def test_differing_settings_are_named_and_resources_do_not_count():
    plan = plan_of("demo")
    assert differing_settings(plan, plan_of("demo", ("hours", 2))) == []
    assert differing_settings(plan, plan_of("demo", ("stage1.train.steps", 3))) == ["stage1.train.steps"]
    shorter = dataclasses.replace(plan, steps=plan.steps[:-1])
    assert differing_settings(plan, shorter) == ["step report"]


def test_the_digest_follows_the_settings_only():
    first, again, other = plan_of("stage1"), plan_of("stage1", ("hours", 2)), plan_of("stage1", ("seed", 9))
    assert first.steps[0].digest() == again.steps[0].digest() != other.steps[0].digest()
