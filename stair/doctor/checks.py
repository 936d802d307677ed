"""Every check, in the order of cause: an early fault explains the later ones.

Takes the facts of probe.py, hands on all findings. A new check is a function Facts → list of Finding and
a line here.
"""

from __future__ import annotations

from collections.abc import Callable

from stair.doctor.finding import Facts, Finding
from stair.doctor.gpu import check_driver
from stair.doctor.paths import check_disks, check_shm
from stair.doctor.software import check_apptainer, check_python, check_slurm, check_stair, check_torch
from stair.doctor.vulkan import check_icds, check_loader, check_nvidia_files, check_variables

CHECKS: tuple[Callable[[Facts], list[Finding]], ...] = (
    check_python,
    check_stair,
    check_driver,
    check_torch,
    check_loader,
    check_variables,
    check_icds,
    check_nvidia_files,
    check_apptainer,
    check_slurm,
    check_disks,
    check_shm,
)


def diagnose(facts: Facts) -> list[Finding]:
    """All findings about the facts."""
    return [finding for check in CHECKS for finding in check(facts)]
