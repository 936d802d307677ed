"""What the machine offers to a build: Apptainer, space, rights.

Takes paths and the environment, hands on plain values or a StairError with the cure. Asked before
anything is downloaded.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from containers.order import Space
from stair.errors import StairError

CAP_SYS_RESOURCE = 24
"""Number of the capability in capability.h; Apptainer cannot act as plain root without it."""


def find_apptainer(environment: Mapping[str, str]) -> Path:
    """$APPTAINER, else the PATH, else where `tools/devcluster install` puts it."""
    named = environment.get("APPTAINER")
    if named:
        if not os.access(named, os.X_OK):
            raise StairError(f"APPTAINER names {named}, which cannot be run", hint="correct or unset it")
        return Path(named)
    found = shutil.which("apptainer", path=environment.get("PATH"))
    if found:
        return Path(found)
    found = _devcluster_apptainer()
    if found:
        return found
    raise StairError(
        "Apptainer is not on this machine",
        hint="`tools/devcluster install` as root on Debian, or name one: APPTAINER=/path/to/apptainer",
    )


def _devcluster_apptainer() -> Path | None:
    try:
        from tools.devslurm import apptainer
    except ImportError:
        return None
    return apptainer.found()


def check_processor() -> None:
    """The locks hold the wheels of one processor only."""
    if platform.machine() != "x86_64":
        raise StairError(
            f"the locks are for x86_64 processors, this one is {platform.machine()}",
            hint="make locks for it as containers/README.md shows, or build on an x86_64 machine",
        )


def check_space(space: Space, *, work: Path, target: Path, bases: Path | None) -> None:
    """Raises StairError when a file system cannot hold the peak of a build.

    Needs that fall onto the same file system add up. `bases` is None when no base tree has to be made.
    """
    needs: dict[int, tuple[Path, float]] = {}
    for folder, gb in ((work, space.work), (target, space.target), (bases, space.base)):
        if folder is None:
            continue
        there = next(place for place in (folder, *folder.parents) if place.exists())
        device = there.stat().st_dev
        needs[device] = (folder, needs.get(device, (folder, 0.0))[1] + gb)
    for folder, gb in needs.values():
        there = next(place for place in (folder, *folder.parents) if place.exists())
        free = shutil.disk_usage(there).free / 1e9
        if free < gb:
            raise StairError(
                f"{folder}: {free:.1f} GB are free, this build needs up to {gb:.1f} GB there",
                hint="make room, or --tmp FOLDER and --output FILE on larger file systems",
            )


def needs_fakeroot(user: int, capabilities: int) -> bool:
    """Whether a build must pretend to be root: not root, or a root that may not raise limits."""
    return user != 0 or not capabilities >> CAP_SYS_RESOURCE & 1


def effective_capabilities() -> int:
    """The capability bits of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def pip_listing() -> str:
    """What pip on this machine is configured to do; nothing when there is no pip."""
    for python in (sys.executable, "python3"):
        words = [python, "-m", "pip", "--disable-pip-version-check", "config", "list"]
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.SubprocessError):
            continue
        if done.returncode == 0:
            return done.stdout
    return ""
