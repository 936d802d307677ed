"""Real faults of this machine, one at a time: named by their id, and gone when they are cured.

The probe runs in a mount namespace of its own or below a cgroup of its own; nothing outside is changed.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stair.doctor import probe
from stair.doctor.checks import diagnose
from stair.doctor.visit import Visit
from tests.processes import wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and cgroups need root")
CGROUPS = Path("/sys/fs/cgroup")
NOBODY = "setpriv --reuid=65534 --regid=65534 --clear-groups"
ORDINARY = ("chrt", "--other", "0")
"""Cgroups take no real-time process (EINVAL), and what starts the tests may have made one of them."""


def ids(folder: Path, sections: str, script: str = ":", prefix: str = "") -> set[str]:
    """What is found where a shell script has changed the machine for the probe after it."""
    words = f"exec {prefix} {sys.executable} {probe.__file__} {folder} --timeout 20 --only {sections}"
    argv = [*ORDINARY, "unshare", "--mount", "--propagation", "private", "bash", "-ec", f"{script}\n{words}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    sheet = json.loads(done.stdout)
    found = diagnose([Visit("n1", "compute", sheet)])
    return {
        finding.id
        for finding in found
        if finding.id.split(".")[0] in ("shm", "disk", "limits", "memory", "cpu")
    }


def test_a_tiny_shared_memory_is_found_and_its_command_cures_it(tmp_path: Path):
    tiny = "mount -t tmpfs -o size=64m tmpfs /dev/shm"
    assert ids(tmp_path, "shm", tiny) == {"shm.small"}
    assert ids(tmp_path, "shm", f"{tiny}; mount -o remount,size=16G /dev/shm") == set()


def test_a_file_system_that_takes_no_files_says_why(tmp_path: Path):
    assert ids(tmp_path, "disks", f"mount -t tmpfs -o ro tmpfs {tmp_path}") >= {"disk.read-only"}
    full = f"mount -t tmpfs -o size=1m tmpfs {tmp_path}; dd if=/dev/zero of={tmp_path}/a bs=4k 2>&- || true"
    assert ids(tmp_path, "disks", full) >= {"disk.full"}
    assert ids(tmp_path, "disks", f"mount -t tmpfs -o size=50g,nr_inodes=1 tmpfs {tmp_path}") >= {
        "disk.inodes"
    }


def test_limits_are_found_and_raising_them_cures_it(tmp_path: Path):
    assert ids(tmp_path, "limits", "ulimit -Sn 128; ulimit -Ss 512") == {"limits.nofile", "limits.stack"}
    assert (
        ids(tmp_path, "limits", "ulimit -Sn 128; ulimit -Ss 512; ulimit -Sn 4096; ulimit -Ss 8192") == set()
    )


@pytest.mark.optional
def test_one_core_is_found(tmp_path: Path):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core here")
    assert ids(tmp_path, "cpu", "taskset -cp 0 $$ >/dev/null") == {"cpu.affinity"}


@pytest.fixture
def cgroup(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A cgroup (v1) of a controller, removed afterwards."""
    if not (CGROUPS / request.param / "cgroup.procs").exists():
        pytest.skip(f"no cgroup v1 for '{request.param}' here")
    folder = Path(tempfile.mkdtemp(prefix="stair-test-", dir=CGROUPS / request.param))
    yield folder
    wait_for(lambda: is_removed(folder))


def is_removed(cgroup: Path) -> bool:
    """Not before the last of its processes, which may have been killed just now, has ended."""
    try:
        cgroup.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


@pytest.mark.optional  # which cgroups there are is the machine's affair
@pytest.mark.parametrize("cgroup", ["memory"], indirect=True)
def test_a_memory_limit_and_files_in_shared_memory_that_eat_it_are_found(tmp_path: Path, cgroup: Path):
    enter = f"echo 500M > {cgroup}/memory.limit_in_bytes; echo $$ > {cgroup}/cgroup.procs"
    assert ids(tmp_path, "memory", enter) == {"memory.low"}
    eaten = f"{enter}; mount -t tmpfs tmpfs /dev/shm; head -c 400M /dev/zero > /dev/shm/left-over"
    assert ids(tmp_path, "memory,shm", eaten) >= {"shm.eats-memory", "memory.low"}


@pytest.mark.optional  # which cgroups there are is the machine's affair
@pytest.mark.parametrize("cgroup", ["cpu"], indirect=True)
def test_a_quota_of_cores_is_found_and_fewer_threads_cure_it(tmp_path: Path, cgroup: Path):
    enter = f"echo 50000 > {cgroup}/cpu.cfs_quota_us; echo $$ > {cgroup}/cgroup.procs"
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core here")
    words = [*ORDINARY, "bash", "-ec", enter]
    entered = subprocess.run(words, capture_output=True, text=True, timeout=60)
    if entered.returncode:
        pytest.skip(f"the kernel takes no process into a cgroup of its own: {entered.stderr}")
    assert ids(tmp_path, "cpu,variables", enter) == {"cpu.quota"}
    one = f"{enter}; echo 100000 > {cgroup}/cpu.cfs_quota_us; export OMP_NUM_THREADS=1"
    assert ids(tmp_path, "cpu,variables", one) == set()


def test_a_folder_of_another_user_is_found():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        assert "disk.not-writable" in ids(Path(folder), "disks", "export HOME=/tmp", NOBODY)
        Path(folder).chmod(0o777)
        assert "disk.not-writable" not in ids(Path(folder), "disks", "export HOME=/tmp", NOBODY)
