"""`stair-submit eval-widowx` in the real images on a real Slurm: simulators draw, a policy is served.

With the assets of the WidowX tasks beside the checkout two of them are played, otherwise two tasks of
ManiSkill3 that need none; two episodes each, cut short.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from stair.evaluate.episodes import read_records
from stair.rundir import RunDir
from tests.containers.eval_image import EvalImage, eval_image  # noqa: F401
from tests.containers.train_image import TrainImage, train_image  # noqa: F401
from tests.slurm.live import LiveSlurm
from tests.slurm.person import make_model, make_person

pytestmark = pytest.mark.slow

ASSETS = Path(__file__).parents[2].parent / "shared" / "data" / "widowx_assets"
WITH = ("[widowx_carrot_on_plate, widowx_stack_cube]", "--eval.assets", str(ASSETS))
WITHOUT = ("[maniskill_pick_cube, maniskill_push_cube]",)
STEPS = 4


def test_two_tasks_are_drawn_played_and_filmed_in_the_eval_image_as_an_array(
    slurm: LiveSlurm,
    train_image: TrainImage,  # noqa: F811
    eval_image: EvalImage,  # noqa: F811
    tmp_path: Path,
):
    images = {"train_image": str(train_image.path), "eval_image": str(eval_image.path)}
    person = make_person(slurm, tmp_path / "work", container=images)
    model = make_model(tmp_path / "model", "bridge_orig", "maniskill_panda")
    said = person.submits(
        *("eval-widowx", "--policy", str(model), "--resources.members", "2", "--resources.cores", "1"),
        *("--eval.tasks", *(WITH if ASSETS.exists() else WITHOUT), "--eval.episodes", "2"),
        *("--eval.workers", "1", "--eval.max_steps", str(STEPS), "--eval.pitfalls", "say"),
    )
    assert "4 episodes of 2 tasks in maniskill3, 2 members of 2 episodes at most; drawn on CPU cores" in said
    report = person.waits_for("runs/eval-widowx")
    tasks = report["evaluations"][0]["tasks"]
    assert [(task["episodes"], task["errors"]) for task in tasks] == [(2, 0), (2, 0)]
    run = RunDir(person.folder / "runs" / "eval-widowx")
    records = read_records(run.episodes)
    assert [record.steps for record in records] == [STEPS] * 4
    assert len(list(run.videos.rglob("*.mp4"))) == 4
    assert '"render": "cpu"' in (run.episodes / "settings.json").read_text()
