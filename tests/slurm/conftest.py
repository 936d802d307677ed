"""A real Slurm and a real Apptainer for tests: `slurm`, `slurm_without_accounting`, `apptainer`.

A cluster of each kind comes up at the first test that wants it, is shared by all workers of pytest-xdist, and
goes down with the last of them. The surprise: files of tests that hold a cluster run one at a time, whichever
worker they are in, and what a test leaves behind (jobs, pulled cables, dead daemons) is gone before the next.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from stair.errors import StairError
from tests.slurm.live import LiveSlurm, live
from tools.devslurm import apptainer as apptainer_files
from tools.devslurm import life, network
from tools.devslurm.shape import Shape
from tools.devslurm.system import CannotHere

KINDS = {"slurm": Shape(), "slurm_without_accounting": Shape(accounting=False)}


@pytest.fixture(scope="session")
def apptainer() -> Path:
    """The executable, the machine's own or that of `tools/devcluster install`."""
    path = apptainer_files.found()
    if path is None or not apptainer_files.version(path):
        pytest.skip("no Apptainer here: tools/devcluster install")
    return path


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSlurm]:
    """A cluster of four nodes with accounts and QOS; preempted jobs are requeued."""
    with shared_cluster(tmp_path_factory, "slurm") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def slurm_without_accounting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSlurm]:
    """The same without slurmdbd: no sacct, no QOS, partitions decide who is preempted."""
    with shared_cluster(tmp_path_factory, "slurm_without_accounting") as cluster:
        yield cluster


@pytest.fixture(scope="module", autouse=True)
def one_file_at_a_time(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Holds the clusters alone while a file's tests run, if any of them wants one."""
    here = [item for item in request.session.items if item.path == request.path]
    if not any(kind in getattr(item, "fixturenames", ()) for item in here for kind in KINDS):
        yield
        return
    with (clusters_folder(tmp_path_factory) / "test.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(autouse=True)
def tidy_afterwards(request: pytest.FixtureRequest) -> Iterator[None]:
    """Gives the clusters of a test back as it found them."""
    mine = [request.getfixturevalue(kind) for kind in KINDS if kind in request.fixturenames]
    yield
    for cluster in mine:
        cluster.tidy()


def clusters_folder(factory: pytest.TempPathFactory) -> Path:
    """Where the clusters of this test run live; the same for all its workers."""
    base = factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "devcluster"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def shared_cluster(factory: pytest.TempPathFactory, kind: str) -> Iterator[LiveSlurm]:
    """The cluster of this test run, brought up by the worker that comes first, ended by the last."""
    try:
        life.require(KINDS[kind].accounting)
    except CannotHere as missing:
        pytest.skip(f"no Slurm here: {missing.what}; {missing.hint}")
    root = clusters_folder(factory) / ("on" if KINDS[kind].accounting else "off")
    end_forgotten_clusters()
    with users_file(root).open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            cluster = life.up(root, KINDS[kind])
            yield live(cluster, apptainer_files.found())
        finally:
            fcntl.flock(users, fcntl.LOCK_UN)
            end_unless_used(root)


def users_file(root: Path) -> Path:
    """Every worker that uses the cluster holds this file's lock in common with the others."""
    return root.parent / f"{root.name}.users"


def end_unless_used(root: Path) -> None:
    """Ends a cluster, unless another worker holds its lock, or has ended it a moment ago."""
    with users_file(root).open("w") as users, suppress(BlockingIOError):
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if (root / "cluster.json").exists():
            life.down(root, purge=True)


def end_forgotten_clusters() -> None:
    """Ends what an earlier test run left that was killed before it could."""
    for _, root in network.claims():
        with suppress(OSError, StairError):
            if users_file(root).exists():
                end_unless_used(root)
