"""A chain and a profile become a plan, or a refusal."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from stair.cluster.container import ContainerConfig
from stair.cluster.profile import ClusterProfile, NetworkConfig
from stair.errors import StairError, UsageError
from stair.submit.plan import CODE_INSIDE, Plan, Step, read_plan
from stair.submit.planning import Origin, differing_settings, make_plan
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


def test_training_in_one_process_is_plain_and_in_several_goes_through_an_agent():
    (alone,) = plan_of("stage1", ("processes", 1)).steps
    assert alone.argv == (sys.executable, "-m", "stair.train", "--config", "/runs/x/settings.yaml")
    (several,) = plan_of("stage1", ("processes", 4), profile=ClusterProfile(cores=16)).steps
    launch = ("-m", "stair.train.launch", "--processes", "4")
    assert several.argv == (alone.argv[0], *launch, *alone.argv[3:])
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
        assert ("--nv" in wrapped) == (image == "/images/train.sif")  # tabletop draws without a GPU
        assert wrapped[wrapped.index(image) :] == (image, "python", *plain[1:])
        assert any("/runs/x" in word for word in wrapped[: wrapped.index(image)])


def test_an_evaluation_in_members_deals_its_layouts_out():
    slurm = ClusterProfile(executor="slurm")
    step = step_of(plan_of("demo", ("eval.resources.members", 4), profile=slurm), "eval").of_member(3)
    assert step.argv[-2:] == ("--shard", "3")
    assert step.argv[step.argv.index("--shards") + 1] == "4"
    where = "/runs/x/eval/members/3.address"
    assert step.server[step.server.index("--address_file") + 1] == where == str(step.address_file)
    assert step.done_file == Path("/runs/x/eval/members/00003.json")


def test_code_and_images_of_a_plan_are_pinned():
    profile = ClusterProfile(container=ContainerConfig(train_image="/i/t.sif", eval_image="/i/e.sif"))
    origin = Origin("c0de" * 16, {"/i/t.sif": "ab", "/i/e.sif": "cd"})
    chain = make_chain("demo", read_recipe("demo"), [])
    plan = make_plan(chain, profile, Path("/runs/x"), cwd=Path("/w"), origin=origin)
    assert plan.images == origin.images
    assert plan.snapshot == Path("/runs/x/code/c0dec0dec0dec0de")
    for step in plan.steps:
        assert step.environment["PYTHONPATH"] == CODE_INSIDE
        assert any(str(plan.snapshot) in word and CODE_INSIDE in word for word in step.argv)


def test_a_run_folder_with_a_colon_is_refused_where_its_code_is_to_run():
    chain = make_chain("demo", read_recipe("demo"), [])
    with pytest.raises(UsageError, match="colon"):
        make_plan(chain, ClusterProfile(), Path("/runs/x:y"), cwd=CWD, origin=Origin("c0de" * 16))
    assert make_plan(chain, ClusterProfile(), Path("/runs/x:y"), cwd=CWD).steps


@pytest.mark.parametrize(
    ("gpus_per_node", "wanted", "stage1", "eval_", "collect"),
    [(None, -1, 0, 0, 0), (0, -1, 0, 0, 0), (8, -1, 2, 1, 0), (8, 4, 4, 1, 0), (8, 0, 0, 1, 0)],
)
def test_gpus_are_asked_for_where_the_work_can_use_them(gpus_per_node, wanted, stage1, eval_, collect):
    profile = ClusterProfile(executor="slurm", gpus_per_node=gpus_per_node)
    plan = plan_of("demo", ("stage1.resources.gpus", wanted), profile=profile)
    found = tuple(step_of(plan, name).gpus for name in ("stage1", "eval", "collect"))
    assert found == (stage1, eval_, collect)


def test_networks_are_named_for_training_on_several_nodes_only():
    profile = ClusterProfile(executor="slurm", network=NetworkConfig(interface="ib0"))
    plan = plan_of("pipeline", profile=profile)
    assert step_of(plan, "stage1").environment["GLOO_SOCKET_IFNAME"] == "ib0"
    assert "GLOO_SOCKET_IFNAME" not in step_of(plan, "eval").environment


def test_a_command_gets_the_run_folder_and_its_member(tmp_path: Path):
    tree = {"kind": "command", "argv": ["x", "{run}/{member}"], "resources": {"members": 3}}
    chain = make_chain("many", tree, [])
    profile = ClusterProfile(executor="slurm")
    (step,) = make_plan(chain, profile, Path("/runs/x"), cwd=tmp_path).steps
    assert step.of_member(2).argv == ("x", "/runs/x/2")


@pytest.mark.parametrize(
    ("pairs", "profile", "message"),
    [
        ([("nodes", 2)], ClusterProfile(), "one machine"),
        ([("processes", 9)], ClusterProfile(cores=8), "8 cores"),
        ([("processes", 9)], ClusterProfile(gpus_per_node=8), "8 GPUs"),
        ([("processes", 0)], ClusterProfile(), "asks for nothing"),
        ([("hours", 0)], ClusterProfile(), "asks for nothing"),
        ([("processes", 3)], ClusterProfile(), "does not divide"),
        ([("resources.members", 4)], ClusterProfile(executor="slurm"), "cannot be an array"),
        ([("resources.members", 0)], ClusterProfile(), "cannot be an array"),
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
