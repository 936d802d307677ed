"""The quick half of tools/drills: a training in the real image is disturbed and ends as it must.

All tests share one cluster and the values of one undisturbed run. `tools/drills` does all drills, with
accounting and without.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from stair.cluster.ledger import Sent, record_sent
from tests.containers.train_image import TrainImage, train_image  # noqa: F401
from tests.slurm.live import LiveSlurm
from tools.drilling.drills import DRILLS, Drill
from tools.drilling.site import Site, signal_all
from tools.drilling.table import Reference, make_trial, perform, read_reference
from tools.drilling.trial import Trial

UNDISTURBED = DRILLS[0]
DISTURBED = [drill for drill in DRILLS if drill.quick and drill is not UNDISTURBED]


@pytest.fixture(scope="module")
def site(
    slurm: LiveSlurm,
    train_image: TrainImage,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Site:
    return Site(slurm.cluster, tmp_path_factory.mktemp("drills"), train_image.path).prepare()


@pytest.fixture(scope="module")
def undisturbed(site: Site) -> Reference:
    """What both stages compute when nobody disturbs them."""
    trial = make_trial(UNDISTURBED, site)
    row = perform(UNDISTURBED, trial, None, print)
    assert row.holds, row.cells()
    return read_reference(trial)


@pytest.mark.slow
@pytest.mark.parametrize("drill", DISTURBED, ids=lambda drill: drill.name)
def test_a_disturbed_run_ends_as_it_must_bit_for_bit(site: Site, undisturbed: Reference, drill: Drill):
    row = perform(drill, make_trial(drill, site), undisturbed, print)
    assert row.holds, row.cells()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["flipped byte", "swapped"])
def test_an_image_that_changed_after_submission_is_refused_in_the_job(site: Site, tmp_path: Path, how: str):
    image = Path(shutil.copyfile(site.image, tmp_path / "train.sif"))
    trial = Trial(site, f"image-{how.split()[0]}", image=image, options=["--hold"])
    trial.submit()
    if how == "flipped byte":
        with image.open("r+b") as file:
            file.seek(image.stat().st_size // 2)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))
    else:
        other = tmp_path / "other.sif"
        other.write_bytes(b"another image")
        other.replace(image)
    site.run("scontrol", "release", trial.job())
    assert trial.finish() == "failed"
    [attempt] = trial.attempts()
    assert attempt.verdict == "fatal"
    assert f"image {image} is not the one that was submitted: sha256" in attempt.why
    assert f"image {image} is not the one that was submitted" in trial.reported("stage1")["words"]
    assert not trial.stage().metrics.exists()


def test_a_run_whose_job_is_sent_again_while_slurm_is_asked_is_not_over(tmp_path: Path):
    class Asked:
        """A Slurm in which job 7 ends while it is asked about, and is job 8 from then on."""

        folder = tmp_path

        def profile(self, name: str, **slurm: object) -> Path:
            return tmp_path / name

        def jobs(self, ids: list[str]) -> dict[str, tuple[str, str]]:
            if ids == ["7"]:
                record_sent(trial.run, Sent("stage1", "stage1", "8", after=("7",)))
            return {job: ("FAILED", "") for job in ids}

    trial = Trial(Asked(), "again", folder=tmp_path / "run")  # pyright: ignore[reportArgumentType]
    record_sent(trial.run, Sent("stage1", "stage1", "7"))
    assert trial._let_go_on() is None
    trial.asked = 0.0
    assert trial._let_go_on() is False


def test_who_has_ended_need_not_be_signalled():
    child = subprocess.Popen(["true"])
    child.wait()
    signal_all([child.pid], signal.SIGCONT)
