"""Apptainer for Debian 12, which has none: sid's package, in a folder of its own with its own C library.

Takes a prefix, hands on PREFIX/usr/bin/apptainer; the machine's own packages and apt sources stay as they
are. The surprise: sid's binaries want a newer C library than the machine has, so their ELF headers are
rewritten to load the one that lies beside them. The prefix therefore cannot be moved.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from stair.errors import StairError
from tools.devslurm.system import CannotHere, run

DEFAULT_PREFIX = Path("~/.cache/stair/apptainer")
PACKAGES = ("apptainer", "libc6", "libseccomp2", "libsqlite3-0")
"""What is fetched from sid: the program, and the libraries that its two binaries load."""
LIBRARIES = ("libc.so.6", "libm.so.6", "libresolv.so.2", "libnss_*.so.2", "libpthread.so.0", "libdl.so.2")
LIBRARIES += ("libseccomp.so.2*", "libsqlite3.so.*")
MACHINES = {
    "x86_64": ("x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
    "aarch64": ("aarch64-linux-gnu", "ld-linux-aarch64.so.1"),
}
"""Debian's library folder and the loader, by what `uname -m` says."""
CAPABILITIES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "KILL",
    "SETGID",
    "SETUID",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "MKNOD",
    "SYS_ADMIN",
]
"""What root gets inside a container: a subset of what even a confined virtual machine's root has.
Apptainer's default asks for all there are, and fails where root lacks one of them, say CAP_SYS_RESOURCE."""


def found(prefix: Path | None = None) -> Path | None:
    """The machine's own apptainer, else the one under the prefix; None where there is none."""
    own = shutil.which("apptainer")
    if own:
        return Path(own)
    path = executable(prefix or DEFAULT_PREFIX.expanduser())
    return path if path.exists() else None


def executable(prefix: Path) -> Path:
    """Where the program lies under a prefix."""
    return prefix / "usr/bin/apptainer"


def version(program: Path) -> str:
    """What `apptainer version` says; empty when it does not run."""
    try:
        done = subprocess.run([program, "version"], capture_output=True, text=True, timeout=60)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def mirror(targets: str) -> str:
    """The Debian mirror that the machine's apt uses, from `apt-get indextargets` lines `SITE ORIGIN`.

    Raises CannotHere when there is none among them.
    """
    for line in targets.splitlines():
        site, _, origin = line.partition(" ")
        if origin.strip() == "Debian" and re.search(r"/debian/?$", site):
            return site
    raise CannotHere("apt knows no Debian mirror here", hint="apt-get update, with Debian in its sources")


def install(prefix: Path, say: Callable[[str], None]) -> str:
    """Makes PREFIX; returns its version. An unfinished one is begun again, a working one left alone.

    Raises StairError when sid's packages cannot be had or do not run here.
    """
    program = executable(prefix)
    if version(program):
        return version(program)
    machine = os.uname().machine
    if machine not in MACHINES:
        raise CannotHere(f"no Apptainer for {machine} here", hint=f"known: {', '.join(MACHINES)}")
    prefix.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".apptainer-", dir=prefix.parent) as folder:
        work = Path(folder)
        say("apptainer: reading the list of sid")
        debs = _download(work)
        say("apptainer: fitting it to this machine")
        made = work / "prefix"
        _unpack(debs, made, work / "libraries", *MACHINES[machine])
        _rewrite(made, prefix, *MACHINES[machine])
        _configure(made)
        if prefix.exists():
            shutil.rmtree(prefix)
        made.chmod(0o755)
        made.rename(prefix)
    if not version(program):
        raise StairError(f"{program} does not run on this machine", hint=f"{program} version")
    _allow_fakeroot(program)
    return version(program)


def _download(work: Path) -> list[Path]:
    """Fetches the packages with an apt of its own: own sources, lists and cache."""
    targets = run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN)", "Created-By: Packages"])
    for folder in ("lists/partial", "cache/archives/partial", "sources"):
        (work / folder).mkdir(parents=True)
    (work / "sources/sid.sources").write_text(
        f"Types: deb\nURIs: {mirror(targets)}\nSuites: sid\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    )
    (work / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "/dev/null";\nDir::Etc::sourceparts "{work}/sources";\n'
        f'Dir::State::lists "{work}/lists";\nDir::Cache "{work}/cache";\nAPT::Sandbox::User "root";\n'
        'Acquire::Languages "none";\nAcquire::Retries "3";\n'
    )
    environment = {**os.environ, "APT_CONFIG": str(work / "apt.conf")}
    run(["apt-get", "-qq", "update"], env=environment, timeout_s=600)
    run(["apt-get", "-qq", "download", *PACKAGES], env=environment, cwd=work, timeout_s=600)
    return sorted(work.glob("*.deb"))


def _unpack(debs: list[Path], made: Path, libraries: Path, folder: str, loader: str) -> None:
    for deb in debs:
        run(["dpkg", "-x", str(deb), str(made if deb.name.startswith("apptainer") else libraries)])
    glibc = made / "glibc"
    glibc.mkdir()
    for place in (libraries / "usr/lib" / folder, libraries / "lib" / folder):
        for pattern in (*LIBRARIES, loader):
            for file in place.glob(pattern):
                shutil.copy2(file, glibc / file.name, follow_symlinks=False)


def _rewrite(made: Path, prefix: Path, folder: str, loader: str) -> None:
    for binary in ("usr/bin/apptainer", f"usr/lib/{folder}/apptainer/bin/starter"):
        run(
            [
                *("patchelf", "--set-interpreter", str(prefix / "glibc" / loader)),
                *("--force-rpath", "--set-rpath", str(prefix / "glibc"), str(made / binary)),
            ]
        )


def _configure(made: Path) -> None:
    # Command and starter derive their prefix from where they lie, and come to /usr and /usr/lib (Debian
    # keeps the starter one folder deeper than upstream): each must find etc and var there.
    for link, target in [
        ("etc", "../etc"),
        ("var", "../var"),
        ("lib/etc", "../../etc"),
        ("lib/var", "../../var"),
    ]:
        (made / "usr" / link).symlink_to(target)
    settings = made / "etc/apptainer/apptainer.conf"
    text, changed = re.subn(
        r"(?m)^root default capabilities = .*$", "root default capabilities = file", settings.read_text()
    )
    if not changed:
        raise StairError(
            f"{settings.name} has no 'root default capabilities'", hint="a newer Apptainer in sid?"
        )
    settings.write_text(text)
    root = [f"CAP_{name}" for name in CAPABILITIES]
    (made / "etc/apptainer/capability.json").write_text(json.dumps({"users": {"root": root}}))


def _allow_fakeroot(program: Path) -> None:
    """`apptainer build --fakeroot` as root wants a range of user ids for root, too."""
    subuid = Path("/etc/subuid")
    if not (subuid.exists() and re.search(r"(?m)^(root|0):", subuid.read_text())):
        run([str(program), "config", "fakeroot", "--add", "root"], check=False)
