"""Before a plan is shown: what is loaded for it, and what is refused first."""

from __future__ import annotations

from pathlib import Path

import pytest

from stair.cluster.profile import ClusterProfile
from stair.errors import UsageError
from stair.submit.prepare import prepare
from stair.submit.recipe import make_chain, read_recipe
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
