"""A Debian base tree from the machine's own apt mirror, for places where no image registry is reachable.

Takes a suite and packages, hands on a folder that Apptainer builds from; made once, kept under
build/bases. The surprise: mmdebstrap writes the host's mirror, resolver and name into the tree; they are
left out, as are device nodes and unreadable folders, which a build as pretended root cannot copy.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

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
DPKG = (
    "force-unsafe-io",
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
)
"""How dpkg works while the tree is made: no manuals, and no flush to disk after every file."""


def tree_name(suite: str, packages: Sequence[str]) -> str:
    """The folder of a base tree: another suite, package or processor gives another name."""
    key = " ".join([platform.machine(), suite, *sorted(packages), *LEFT_OUT, *DPKG])
    return f"{suite}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def mirror_lines(targets: str, suite: str) -> list[str]:
    """Lines of a sources.list for `suite` and its updates, from what `read_targets` says."""
    lines = []
    for target in targets.splitlines():
        address, release, component = (*target.split("|"), "", "")[:3]
        if release in (suite, f"{suite}-updates", f"{suite}-security") and component == "main":
            lines.append(f"deb {address} {release} main")
    return list(dict.fromkeys(lines))


def read_targets() -> str:
    """What apt on this machine is configured to read, one `address|release|component` a line."""
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI)|$(CODENAME)|$(COMPONENT)"]
    try:
        done = subprocess.run([*words, "Created-By: Packages"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def base_tree(folder: Path, suite: str, packages: Sequence[str], log: Path) -> Path:
    """The base tree under `folder`, made if it is not there yet.

    Raises StairError without mmdebstrap, without a mirror for the suite, or when mmdebstrap fails.
    """
    tree = folder / tree_name(suite, packages)
    if tree.is_dir():
        return tree
    if not shutil.which("mmdebstrap"):
        raise StairError(
            "a base from a Debian mirror needs mmdebstrap, which is not installed",
            hint="apt-get install mmdebstrap, or --base registry",
        )
    mirrors = mirror_lines(read_targets(), suite)
    if not any(line.split()[2] == suite for line in mirrors):
        raise StairError(
            f"apt on this machine knows no mirror that has Debian {suite}",
            hint=f"add one for {suite} main to apt's sources, or --base registry",
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=folder) as making:
        _make(Path(making) / "tree", suite, packages, mirrors, log)
        try:
            os.replace(Path(making) / "tree", tree)
        except OSError:  # another build was quicker
            if not tree.is_dir():
                raise
    return tree


def _make(tree: Path, suite: str, packages: Sequence[str], mirrors: Sequence[str], log: Path) -> None:
    options = [word for option in DPKG for word in ("--dpkgopt", option)]
    make = [
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join(packages)}",
        *options,
        suite,
        "-",
        *mirrors,
    ]
    unpack = ["tar", "-C", str(tree), "-x", *(f"--exclude={pattern}" for pattern in LEFT_OUT)]
    tree.mkdir()
    with log.open("ab") as notes:
        # mmdebstrap works in TMPDIR; the kept trees' file system is the one whose space was checked
        variables = {**os.environ, "TMPDIR": str(tree.parent.parent)}
        maker = subprocess.Popen(make, stdout=subprocess.PIPE, stderr=notes, env=variables)
        unpacked = subprocess.run(unpack, stdin=maker.stdout, stderr=notes)
        made = maker.wait()
    if made or unpacked.returncode:
        raise StairError(f"mmdebstrap could not make a base tree of Debian {suite}", hint=f"its log is {log}")
    (tree / "etc" / "resolv.conf").touch()
    (tree / "etc" / "hosts").touch()
