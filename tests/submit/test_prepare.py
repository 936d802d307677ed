"""Before a plan is shown: what is loaded for it, and what is refused first."""

from __future__ import annotations

from pathlib import Path

import pytest

from stair.cluster.container import ContainerConfig
from stair.cluster.profile import ClusterProfile
from stair.errors import UsageError
from stair.submit.prepare import prepare
from stair.submit.recipe import make_chain, read_recipe
from tests.cluster.sifs import write_sif
from tests.test_house import loaded_after


def test_planning_for_slurm_loads_nothing_that_only_sending_needs():
    loaded = loaded_after("import stair.submit.prepare, stair.submit.recipe, stair.submit.show")
    assert not loaded & {"submitit", "asyncio", "rich", "urllib.request", "torch", "numpy"}


def test_a_secret_in_a_setting_is_refused_before_the_plan_is_shown():
    project = "k3y-0f92ab41c7d8"
    pairs = [("stage1.train.tracking.wandb_project", f"mine-{project}")]
    chain = make_chain("smoke", read_recipe("smoke"), pairs)
    environment = {"WANDB_API_KEY": project}
    with pytest.raises(UsageError, match=r"wandb_project' contains the value") as caught:
        prepare(chain, ClusterProfile(), Path("/runs/x"), cwd=Path("/w"), environment=environment)
    assert project not in str(caught.value)
    assert prepare(chain, ClusterProfile(), Path("/runs/x"), cwd=Path("/w"), environment={}).plan.steps


def test_a_simulator_that_draws_needs_an_eval_image_and_one_that_does_not_is_content(tmp_path: Path):
    labels = {"stair.kind": "train", "stair.variant": "cuda", "stair.python": "3.11.2"}
    train = str(write_sif(tmp_path / "train.sif", labels))
    labels = {"stair.kind": "eval", "stair.variant": "full", "stair.python": "3.11.2"}
    drawing = str(write_sif(tmp_path / "eval.sif", labels))

    def refused(recipe: str, eval_image: str, *pairs: tuple[str, object]) -> list[str]:
        images = ContainerConfig(train_image=train, eval_image=eval_image)
        profile = ClusterProfile(gpus_per_node=8, container=images)
        chain = make_chain(recipe, read_recipe(recipe), pairs)
        prepared = prepare(chain, profile, Path("/runs/x"), cwd=Path("/w"), environment={})
        return [refusal.id for refusal in prepared.verdict.refusals]

    assert refused("eval-tabletop", train) == []
    assert refused("eval-tabletop", drawing) == []
    assert refused("eval-widowx", drawing, ("eval.simulator", "simpler")) == []
    assert refused("eval-widowx", train, ("eval.simulator", "simpler")) == ["image-kind"]
    assert refused("eval-all", train, ("widowx.eval.simulator", "simpler")) == ["image-kind"]


def test_where_a_link_leads_is_bound_before_the_link_and_only_once(tmp_path: Path):
    labels = {"stair.kind": "eval", "stair.variant": "full", "stair.python": "3.11.2"}
    image = str(write_sif(tmp_path / "eval.sif", labels))
    real, cwd = tmp_path / "scratch" / "assets", tmp_path / "work"
    (real / "inner").mkdir(parents=True)
    cwd.mkdir()
    (cwd / "assets").symlink_to(real)
    profile = ClusterProfile(container=ContainerConfig(eval_image=image))
    for named in ("assets", str(cwd / "assets"), str(real)):
        chain = make_chain("eval-widowx", read_recipe("eval-widowx"), [("eval.assets", named)])
        (step,) = prepare(chain, profile, tmp_path / "run", cwd=cwd, environment={}).plan.steps
        mounts = [word for word in step.argv if f"destination={real}" in word]
        assert [word.endswith(",ro") for word in mounts] == [True]
        assert step.argv.index(mounts[0]) < step.argv.index(image)
