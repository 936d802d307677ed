"""A Debian base tree from the machine's own apt mirror, for places where no image registry is reachable.

Takes suites and packages, hands on a folder that Apptainer builds from; made once, kept under
build/bases. The surprise: mmdebstrap writes the host's mirror, resolver and name into the tree; they are
left out, as are device nodes and unreadable folders, which a build as pretended root cannot copy.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from containers.watched import run_watched, twice
from stair.errors import StairError

LEFT_OUT = (
    "./dev/*",
    "./etc/apt/sources.list",
    "./etc/apt/sources.list.d/*",
    "./etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "./etc/hostname",
    "./etc/resolv.conf",
    "./var/cache/apt/*",
    "./var/lib/apt/lists/*",
)
RELEASES = ("bookworm", "trixie", "bullseye", "forky")
"""Releases whose addresses in apt's configuration lead to a mirror of Debian."""
DPKG = (
    "force-unsafe-io",
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
)
"""How dpkg works while the tree is made: no manuals, and no flush to disk after every file."""


@dataclass(frozen=True)
class Debian:
    """What a base tree is made of."""

    suite: str
    packages: tuple[str, ...]
    also: tuple[str, ...] = ()
    """Further suites that packages may come from."""
    preferences: Path | None = None
    """A file for /etc/apt/preferences.d that says which package comes from which suite."""


def tree_name(debian: Debian) -> str:
    """The folder of a base tree: another suite, package, preference or processor gives another name."""
    preferences = [debian.preferences.read_text()] if debian.preferences else []
    parts = [*debian.also, *sorted(debian.packages), *LEFT_OUT, *DPKG, *preferences]
    key = " ".join([platform.machine(), debian.suite, *parts])
    return f"{debian.suite}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def mirror_lines(targets: str, suite: str) -> list[str]:
    """Lines of a sources.list for `suite` and its updates, from what `read_targets` says.

    A mirror of one Debian release has the others too: where apt is not told of `suite`, the addresses
    of another release are taken.
    """
    known = [tuple(target.split("|")) for target in targets.splitlines() if target.count("|") == 2]
    for release in (suite, *RELEASES):
        lines = []
        for address, name, component in known:
            kind = name.removeprefix(release)
            if name.startswith(release) and kind in ("", "-updates", "-security") and component == "main":
                lines.append(f"deb {address} {suite}{kind} main")
        if "-" in suite:  # backports: a suite of the main archive, without updates of its own
            lines = [line for line in lines if line.split()[2] == suite]
        if any(line.split()[2] == suite for line in lines):
            return list(dict.fromkeys(lines))
    return []


def read_targets() -> str:
    """What apt on this machine is configured to read, one `address|release|component` a line."""
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI)|$(CODENAME)|$(COMPONENT)"]
    try:
        done = subprocess.run([*words, "Created-By: Packages"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def base_tree(folder: Path, debian: Debian, log: Path) -> Path:
    """The base tree under `folder`, made if it is not there yet.

    Raises StairError without mmdebstrap, without a mirror of Debian, or when mmdebstrap fails.
    """
    tree = folder / tree_name(debian)
    if tree.is_dir():
        return tree
    if not shutil.which("mmdebstrap"):
        raise StairError(
            "a base from a Debian mirror needs mmdebstrap, which is not installed",
            hint="apt-get install mmdebstrap, or --base registry",
        )
    targets = read_targets()
    mirrors = [line for suite in (debian.suite, *debian.also) for line in mirror_lines(targets, suite)]
    if not mirrors:
        raise StairError(
            f"apt on this machine knows no mirror that has Debian {debian.suite}",
            hint=f"add one for {debian.suite} main to apt's sources, or --base registry",
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=folder) as making:
        _make(Path(making) / "tree", debian, mirrors, log)
        try:
            os.replace(Path(making) / "tree", tree)
        except OSError:  # another build was quicker
            if not tree.is_dir():
                raise
    return tree


def _make(tree: Path, debian: Debian, mirrors: Sequence[str], log: Path) -> None:
    options = [word for option in DPKG for word in ("--dpkgopt", option)]
    if debian.preferences:
        place = '"$1"/etc/apt/preferences.d'
        copy = f"cp {shlex.quote(str(debian.preferences))} {place}/stair"
        options.append(f"--setup-hook=mkdir -p {place} && {copy}")
    make = [
        "mmdebstrap",
        "--verbose",
        "--variant=minbase",
        f"--include={','.join(debian.packages)}",
        *options,
        debian.suite,
        "-",
        *mirrors,
    ]
    unpack = ["tar", "-C", str(tree), "-x", *(f"--exclude={pattern}" for pattern in LEFT_OUT)]
    # mmdebstrap works in TMPDIR; the kept trees' file system is the one whose space was checked
    variables = {**os.environ, "TMPDIR": str(tree.parent.parent)}

    def make_anew() -> list[int]:
        shutil.rmtree(tree, ignore_errors=True)
        tree.mkdir()
        return run_watched(make, unpack, log=log, environment=variables)

    if any(twice(make_anew)):
        raise StairError(
            f"mmdebstrap could not make a base tree of Debian {debian.suite}", hint=f"its log is {log}"
        )
    (tree / "etc" / "resolv.conf").touch()
    (tree / "etc" / "hosts").touch()
