"""The marker of a finished step, and what is held against it before the next one starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stair.cluster.digest import file_digest
from stair.errors import StairError
from stair.rundir import RunDir
from stair.submit.markers import finish, is_done, verify
from stair.submit.plan import Plan, Step
from tests.submit.scripted import a_plan, a_step


def trained(run: Path) -> tuple[Plan, Step, Path]:
    """A finished training `one`, a step `two` that needs it, and the file between them."""
    one, two = a_step(run, "one", "pass", seed=1), replace(a_step(run, "two", "pass"), needs=("one",))
    checkpoint = RunDir(Path(one.folder)).checkpoint(20)
    checkpoint.model.mkdir(parents=True)
    weights = checkpoint.model / "model.safetensors"
    weights.write_bytes(b"weights")
    checkpoint.marker.touch()
    finish(one, seconds=3.0)
    return a_plan(run, one, two), two, weights


def test_a_marker_is_of_these_settings_only(tmp_path: Path):
    step = a_step(tmp_path, "one", "pass", seed=1)
    assert not is_done(step)
    finish(step, seconds=3.0)
    assert is_done(step)
    assert not is_done(a_step(tmp_path, "one", "pass", seed=2))


def test_members_have_markers_of_their_own(tmp_path: Path):
    step = replace(a_step(tmp_path, "one", "pass"), members=3)
    finish(step.of_member(1), seconds=3.0)
    assert [is_done(step.of_member(member)) for member in range(3)] == [False, True, False]
    assert not is_done(step)


def test_what_is_as_it_was_made_is_taken(tmp_path: Path):
    plan, two, _ = trained(tmp_path)
    verify(plan, two)


def test_a_checkpoint_that_changed_between_the_stages_is_refused(tmp_path: Path):
    plan, two, weights = trained(tmp_path)
    weights.write_bytes(b"weighty")
    with pytest.raises(StairError, match=r"model\.safetensors is not what step one made: sha256") as error:
        verify(plan, two)
    assert "remove" in error.value.hint
    weights.unlink()
    with pytest.raises(StairError, match="is missing"):
        verify(plan, two)


@pytest.mark.parametrize("what", ["flipped byte", "other image", "missing"])
def test_an_image_that_is_not_the_one_submitted_is_refused(tmp_path: Path, what: str):
    image = tmp_path / "x.sif"
    image.write_bytes(b"image" * 1000)
    digest = file_digest(image)
    step = a_step(tmp_path, "one", "pass")
    step = replace(step, argv=("apptainer", "exec", str(image), *step.argv))
    plan = replace(a_plan(tmp_path, step), images={str(image): digest})
    verify(plan, step)
    if what == "flipped byte":
        content = bytearray(image.read_bytes())
        content[2500] ^= 1
        image.write_bytes(content)
    elif what == "other image":
        other = tmp_path / "y.sif"
        other.write_bytes(b"other" * 1000)
        other.replace(image)
    else:
        image.unlink()
    with pytest.raises(StairError, match=r"not the one that was submitted|cannot read"):
        verify(plan, step)
    verify(plan, a_step(tmp_path, "two", "pass"))  # whoever does not use it
