"""Real starts of real images; the file system that a path lies on."""

from __future__ import annotations

import os

import pytest

from containers.machine import find_apptainer
from stair.doctor.deep.start import STARTS, container_start, file_system
from stair.errors import StairError
from tests.containers.eval_image import eval_image  # noqa: F401


@pytest.fixture
def host():
    try:
        apptainer = find_apptainer(os.environ)
    except StairError as error:
        pytest.skip(str(error))
    return {**os.environ, "PATH": f"{apptainer.parent}:{os.environ['PATH']}"}


def test_a_good_image_is_started_and_timed(host, eval_image):  # noqa: F811
    (fact,) = container_start([str(eval_image.path)], host=host)
    assert fact["ok"], fact
    assert len(fact["seconds"]) == STARTS
    assert 0 < fact["median"] <= max(fact["seconds"])
    assert fact["first"] == fact["seconds"][0]
    assert fact["file_system"]


def test_a_broken_image_is_said_in_apptainers_words(host, tmp_path):
    image = tmp_path / "broken.sif"
    image.write_bytes(b"no image")
    (fact,) = container_start([str(image)], host=host)
    assert fact["ok"] is False
    assert "FATAL" in fact["error"]


def test_without_apptainer_nothing_is_known_of_the_image(tmp_path):
    (fact,) = container_start([str(tmp_path / "x.sif")], host={"PATH": str(tmp_path)})
    assert fact["ok"] is None
    assert "apptainer" in fact["error"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/scratch/u/x.sif", "lustre"),
        ("/scratchy/x.sif", "ext4"),
        ("/my disk/x.sif", "nfs4"),
        ("/x.sif", "ext4"),
        ("/over/x", "tmpfs"),
    ],
)
def test_the_longest_mount_that_holds_a_path_counts(tmp_path, path, kind):
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "x@tcp:/s /scratch lustre rw 0 0\nh:/ /my\\040disk nfs4 rw 0 0\n/dev/sda / ext4 rw 0 0\n"
        "a /over ext4 rw 0 0\nb /over tmpfs rw 0 0\nodd\n"
    )
    assert file_system(path, str(mounts)) == kind
