"""Facts about disks and shared memory become findings. Pure."""

from __future__ import annotations

from stair.doctor.finding import Facts, Finding

FULL_GB, LOW_GB = 1.0, 10.0
SHM_LOW_GB = 0.5
"""Data workers hand batches over through /dev/shm; Docker's default of 64 MB ends in a bus error."""


def check_disks(facts: Facts) -> list[Finding]:
    """The run folder and the temporary folder: writable, and with room."""
    return [_check_disk(disk) for disk in facts["disk"]]


def _check_disk(disk: dict) -> Finding:
    id = f"disk.{disk['name'].replace(' ', '-')}"
    if "error" in disk:
        return Finding(id, "unknown", f"{disk['name']} {disk['path']}: {disk['error']}")
    seen = f"{disk['name']} {disk['path']}: {disk['free_gb']:.1f} of {disk['total_gb']:.0f} GB free"
    if not disk["writable"]:
        return Finding(
            id, "error", f"{disk['name']} {disk['path']} is not writable", "a run fails at its start", "--run"
        )
    if disk["free_gb"] < FULL_GB:
        return Finding(id, "error", seen, "a checkpoint will not fit", "free some, or choose another place")
    if disk["free_gb"] < LOW_GB:
        return Finding(
            id, "warning", seen, "a full-size checkpoint has 30 GB and more", "watch checkpoint.keep"
        )
    return Finding(id, "fine", seen)


def check_shm(facts: Facts) -> list[Finding]:
    """Shared memory, which data workers use."""
    shm = facts["shm"]
    if "error" in shm or not shm["writable"]:
        return [
            Finding(
                "shm", "warning", "/dev/shm is not usable", "data workers may fail", "train.data.workers 0"
            )
        ]
    seen = f"/dev/shm: {shm['free_gb']:.1f} GB free"
    if shm["free_gb"] >= SHM_LOW_GB:
        return [Finding("shm", "fine", seen)]
    cure = "train.data.workers 0; in Docker --shm-size, in Slurm ask for more memory"
    return [Finding("shm", "warning", seen, "data workers end with a bus error when it is full", cure)]
