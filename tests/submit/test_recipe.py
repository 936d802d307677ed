"""Recipes and words become a checked chain."""

from __future__ import annotations

from pathlib import Path

import pytest

from stair.errors import UsageError
from stair.settings import dump
from stair.submit.cli import recipes
from stair.submit.job import EvalJob, TrainJob
from stair.submit.recipe import make_chain, merge, read_recipe, recipe_names


def chain_of(recipe: str, **overrides):
    pairs = [(key.replace("__", "."), value) for key, value in overrides.items()]
    return make_chain(recipe, read_recipe(recipe), pairs)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_decodes_as_it_stands(name: str):
    assert chain_of(name).steps


def test_the_quick_line_scan_finds_the_recipes_that_yaml_finds():
    assert [name for name, _ in recipes()] == recipe_names()
    for name, about in recipes():
        assert about == read_recipe(name)["about"]


def test_an_override_keeps_the_siblings_the_recipe_gave():
    job = chain_of("stage1", train__data__mixture="bridge_orig").steps[0].job
    assert isinstance(job, TrainJob)
    assert job.train.data.mixture == "bridge_orig"
    assert job.train.data.root == "data/oxe"


def test_an_override_in_a_chain_reaches_only_its_step():
    chain = chain_of("demo", stage1__train__steps=7)
    stage1, stage2 = (step.job for step in chain.steps if step.kind == "train")
    assert stage1.train.steps == 7
    assert stage2.train.steps != 7


def test_the_seed_reaches_every_training_step_and_no_evaluation():
    chain = chain_of("demo", seed=5)
    for step in chain.steps:
        if isinstance(step.job, TrainJob):
            assert step.job.train.seed == step.job.train.data.seed == 5
        if isinstance(step.job, EvalJob):
            assert step.job.eval.seed == EvalJob().eval.seed


def test_processes_reach_training_and_hours_reach_all():
    chain = chain_of("demo", processes=2, hours=3)
    assert {step.job.resources.processes for step in chain.steps if step.kind == "train"} == {2}
    assert {step.job.resources.processes for step in chain.steps if step.kind != "train"} == {1}
    assert {step.job.resources.hours for step in chain.steps} == {3}


@pytest.mark.parametrize(
    ("recipe", "key", "hint"),
    [
        ("stage1", "train.stpes", "--train.steps"),
        ("stage1", "train.data.mixtur", "--train.data.mixture"),
        ("stage1", "steps", "--train.steps"),
        ("demo", "train.steps", "--stage1.train.steps"),
        ("demo", "stage1.train.optimizer.learning_rat", "--stage1.train.optimizer.learning_rate"),
    ],
)
def test_a_typo_gets_the_nearest_known_setting(recipe: str, key: str, hint: str):
    with pytest.raises(UsageError) as caught:
        make_chain(recipe, read_recipe(recipe), [(key, 1)])
    assert f"'--{key}'" in caught.value.what
    assert hint in caught.value.hint


def test_an_unknown_recipe_gets_the_nearest_known_one():
    with pytest.raises(UsageError, match="did you mean 'stage1'"):
        read_recipe("stage_1")


def test_a_value_of_the_wrong_type_is_refused_by_its_name():
    with pytest.raises(UsageError, match=r"train\.steps"):
        make_chain("stage1", read_recipe("stage1"), [("train.steps", "many")])


def test_folders_that_the_plan_decides_cannot_be_overridden():
    with pytest.raises(UsageError, match="--run"):
        chain_of("stage1", train__run="elsewhere")


def test_a_base_is_no_recipe():
    with pytest.raises(UsageError, match="only a base"):
        read_recipe("small")


def test_a_recipe_may_be_a_file_with_a_recipe_as_base(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text("about: mine\nbase: stage1\ntrain: {steps: 3}\n")
    job = make_chain("mine", read_recipe(str(file)), []).steps[0].job
    assert isinstance(job, TrainJob)
    assert (job.train.steps, job.train.data.mixture) == (3, "bridge_rt_1")


def test_a_typo_in_a_recipe_file_is_refused_with_its_place(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text("kind: chain\nabout: mine\nsteps:\n  one:\n    kind: train\n    train: {stpes: 3}\n")
    with pytest.raises(UsageError, match=r"one\.train\.stpes"):
        make_chain("mine", read_recipe(str(file)), [])


@pytest.mark.parametrize("steps", ["{}", "{Bad-Name: {kind: train}}", "{one: {kind: tarin}}", "{one: 3}"])
def test_steps_that_make_no_sense_are_refused(tmp_path: Path, steps: str):
    file = tmp_path / "mine.yaml"
    file.write_text(f"kind: chain\nabout: mine\nsteps: {steps}\n")
    with pytest.raises(UsageError):
        make_chain("mine", read_recipe(str(file)), [])


def test_merging_replaces_lists_and_values_and_keeps_the_rest():
    low = {"a": {"b": 1, "c": [1, 2]}, "d": 4}
    assert merge(low, {"a": {"c": [3]}, "e": 5}) == {"a": {"b": 1, "c": [3]}, "d": 4, "e": 5}
    assert low == {"a": {"b": 1, "c": [1, 2]}, "d": 4}


def test_a_decoded_job_is_dumped_and_decoded_to_itself():
    from stair.settings import build

    for step in chain_of("demo").steps:
        assert build(type(step.job), dump(step.job)) == step.job
