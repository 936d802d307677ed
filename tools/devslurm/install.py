"""What a development cluster needs becomes installed: Debian packages, then Apptainer.

Each step looks first whether it is done, so that a second run takes no time and a broken one goes on where
it stopped. The surprise: Debian starts daemons when it installs them and enables them for the next boot;
both is prevented, since ours live in root folders of their own.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.devslurm import apptainer
from tools.devslurm.system import CannotHere, run

PACKAGES = {
    "Slurm": ("slurmctld", "slurmd", "slurm-client", "slurmdbd", "munge"),
    "MariaDB": ("mariadb-server",),
    "network": ("iproute2", "util-linux"),
    "images": (
        "squashfs-tools",
        "squashfuse",
        "fuse2fs",
        "fuse-overlayfs",
        "uidmap",
        "mmdebstrap",
        "patchelf",
    ),
}
"""Debian packages by what they are for."""
UNITS = ("slurmctld", "slurmd", "slurmdbd", "munge", "mariadb")
WANTS = Path("/etc/systemd/system/multi-user.target.wants")
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\n# for the duration of tools/devcluster install\nexit 101\n"


def require() -> None:
    """Raises CannotHere, in one sentence, unless packages can be installed here."""
    if not is_debian(Path("/etc/os-release")):
        raise CannotHere(
            "only Debian is known here", hint="install Slurm, munge, MariaDB, Apptainer by its means"
        )
    if os.geteuid() != 0:
        raise CannotHere("packages need root", hint="as root, or sudo")


def is_debian(release: Path) -> bool:
    """Whether an os-release file is Debian's own."""
    try:
        return "ID=debian" in release.read_text().split("\n")
    except OSError:
        return False


def install(prefix: Path | None, say: Callable[[str], None]) -> list[str]:
    """Installs what is missing and returns lines for people: what was done, and the PATH to use.

    Raises CannotHere where it cannot work, StairError when apt or Apptainer fail.
    """
    require()
    done: list[str] = []
    for purpose, packages in PACKAGES.items():
        began = time.monotonic()
        missing = missing_packages(packages)
        if missing:
            say(f"{purpose}: installing {' '.join(missing)}")
            install_packages(missing)
            done.append(f"{purpose}: {' '.join(missing)} ({time.monotonic() - began:.0f} s)")
        else:
            done.append(f"{purpose}: was there")
    program = None if prefix else apptainer.found()
    if program and apptainer.version(program):
        done.append(f"Apptainer {apptainer.version(program)}: was there")
    else:
        began = time.monotonic()
        prefix = prefix or apptainer.DEFAULT_PREFIX.expanduser()
        version = apptainer.install(prefix, say)
        program = apptainer.executable(prefix)
        done.append(f"Apptainer {version}: {prefix} ({time.monotonic() - began:.0f} s)")
    own = shutil.which("apptainer")
    if own is None or Path(own) != program:
        done.append(f"export PATH={program.parent}:$PATH")
    return done


def missing_packages(packages: tuple[str, ...]) -> list[str]:
    """Those that are not installed, or not wholly."""
    said = run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Abbrev}\n", *packages], check=False)
    there = {line.split()[0] for line in said.splitlines() if line.split()[1:] == ["ii"]}
    return [package for package in packages if package not in there]


def install_packages(packages: list[str]) -> None:
    """Installs Debian packages without starting or enabling what they bring."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]
    had = {link for link in WANTS.glob("*.service") if link.is_symlink()}
    with _no_starts():
        run(["dpkg", "--configure", "-a"], env=environment, check=False, timeout_s=600)
        # Somebody else's source may be out of order; what counts is whether the packages can be had.
        run([*apt, "update"], env=environment, check=False, timeout_s=600)
        run([*apt, "install", "-y", "--no-install-recommends", *packages], env=environment, timeout_s=1200)
    for link in WANTS.glob("*.service"):
        if link not in had and link.stem in UNITS:
            link.unlink()  # what `systemctl disable` does, also where there is no systemd


@contextmanager
def _no_starts() -> Iterator[None]:
    """Debian's way to say that packages may start nothing; one that is there already stays."""
    ours = not POLICY.exists() or POLICY.read_text() == POLICY_TEXT
    if ours:
        POLICY.write_text(POLICY_TEXT)
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)
