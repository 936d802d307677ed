"""The code that a run runs: a copy of the package in the run folder, named by what it holds.

Takes the installed package, hands on RUN/code/DIGEST16/ with `stair/`, origin.json (commit, version, every
file's hash) and changes.diff. A job that starts hours later runs this copy, whatever became of the checkout.
The surprise: the digest names the files alone, so two commits with the same package share a copy.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import hashlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import stair
from stair.errors import StairError
from stair.frozen import frozen
from stair.origin import code_state
from stair.rundir import RunDir, make_folder
from stair.submit.plan import snapshot_folder
from stair.submit.secrets import redact

PACKAGE = Path(stair.__file__).resolve().parent
ORIGIN, CHANGES = "origin.json", "changes.diff"
ABANDONED_S = 3600.0
"""After this a staging folder is of a sender that died."""
LONGEST_DIFF = 2_000_000
"""Signs; what is more is cut off, the copy has the package's files in any case."""
PRIVATE = (
    ".env*",
    "*.env",
    "*.pem",
    "*.key",
    "*.p12",
    "id_*",
    "*token*",
    "*secret*",
    "*credential*",
    ".netrc",
)
"""Names of changed files whose content is never recorded, unless they are Python."""


@frozen
class CodeFacts:
    """A package and what it holds."""

    package: Path
    digest: str
    """SHA-256 over `files`."""
    files: dict[str, str]
    """Relative path → SHA-256, sorted."""


def describe_code(package: Path = PACKAGE) -> CodeFacts:
    """Hashes every file of a package, caches and hidden files left out: about 10 ms for a megabyte."""
    files = {}
    for folder, subfolders, names in os.walk(package):
        subfolders[:] = [name for name in subfolders if name != "__pycache__" and not name.startswith(".")]
        for name in names:
            path = os.path.join(folder, name)
            if not name.startswith(".") and not name.endswith(".pyc"):
                files[os.path.relpath(path, package)] = _hash(path)
    files = dict(sorted(files.items()))
    return CodeFacts(package, _digest_of(files), files)


def take_snapshot(run: RunDir, facts: CodeFacts) -> Path:
    """Copies the package, or finds the copy; returns the folder to put on PYTHONPATH, with `stair/` in it.

    The copy appears whole or not at all, also when two senders make it at once. Raises StairError when it
    cannot be written, when the package changed since `facts`, or when somebody edited the copy.
    """
    place = snapshot_folder(run.path, facts.digest)
    _sweep(make_folder(place.parent))
    if (place / ORIGIN).exists():
        verify_snapshot(place, facts.digest)
        return place
    if place.exists() and not (place / ORIGIN).exists():
        shutil.rmtree(place, ignore_errors=True)  # half of a copy: whole ones appear with their record
    stage = place.parent / f".{place.name}.{os.uname().nodename}.{os.urandom(4).hex()}.partial"
    try:
        _fill(stage, facts)
        stage.rename(place)
        _sync(place.parent)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # another sender was first, its copy is as good
            return place
        raise StairError(
            f"cannot copy the code to {place}: {error.strerror}", hint="is the disk full or read-only?"
        ) from None
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return place


def verify_snapshot(path: Path, digest: str) -> None:
    """Holds a copy against the plan's digest. Raises StairError naming the first file that differs."""
    found = describe_code(path / "stair")
    if found.digest == digest:
        return
    try:
        recorded = json.loads((path / ORIGIN).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        raise StairError(f"{path} is no whole copy of the code", hint="repeat the submission") from None
    for name in sorted({*recorded, *found.files}):
        was, now = recorded.get(name), found.files.get(name)
        if was != now:
            what = "is missing" if now is None else "was added" if was is None else "was changed"
            raise StairError(
                f"the run's own code is not what was submitted: {path / 'stair' / name} {what}",
                hint=f"remove {path} and repeat the submission",
            )
    raise StairError(f"{path} holds other code than the plan wants", hint="repeat the submission")


def _fill(stage: Path, facts: CodeFacts) -> None:
    copied = {}
    for name in facts.files:
        content = (facts.package / name).read_bytes()
        copied[name] = hashlib.sha256(content).hexdigest()
        _write(stage / "stair" / name, content)
    if _digest_of(copied) != facts.digest:
        raise StairError("the code changed while it was copied", hint="submit again")
    state = code_state(facts.package.parent)
    dirty = bool(state.get("changes_sha256"))
    if dirty:
        _write(stage / CHANGES, record_changes(facts.package.parent).encode(errors="replace"))
    origin = {**state, "dirty": dirty, "digest": facts.digest, "files": facts.files}
    _write(stage / ORIGIN, (json.dumps(origin, indent=2) + "\n").encode())
    for folder, _, names in os.walk(stage, topdown=False):  # all written first: fewer commits to disk
        for name in names:
            _sync(Path(folder, name))
        _sync(Path(folder))


def record_changes(checkout: Path) -> str:
    """What differs from the commit, as a diff, and the names of files that git does not know.

    Files that may hold secrets are named only, and what looks like one elsewhere is replaced.
    """
    changed = _git(checkout, "diff", "HEAD", "--name-only", "--no-renames", "-z").split("\0")
    shown = [name for name in changed if name and not _is_private(name)]
    hidden = [name for name in changed if name and _is_private(name)]
    unknown = _git(checkout, "ls-files", "--others", "--exclude-standard", "-z").split("\0")
    lines = [f"# changed, content not recorded: {name!r}" for name in hidden]
    lines += [f"# not in git: {name!r}" for name in unknown if name]
    literal = [f":(top,literal){name}" for name in shown]
    diff = _git(checkout, "diff", "HEAD", "--no-ext-diff", "--no-renames", "--", *literal) if literal else ""
    diff = redact(diff, os.environ)
    if len(diff) > LONGEST_DIFF:
        diff = diff[:LONGEST_DIFF] + f"\n# {len(diff) - LONGEST_DIFF} more signs are not recorded\n"
    return "".join(f"{line}\n" for line in lines) + diff


def _is_private(name: str) -> bool:
    base = Path(name).name.lower()
    return not base.endswith(".py") and any(fnmatch.fnmatch(base, pattern) for pattern in PRIVATE)


def _git(checkout: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(checkout), *words], capture_output=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace")


def _digest_of(files: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()


def _hash(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
        raise StairError(f"cannot read {path}: {error.strerror}", hint="is its file system there?") from None


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o444)  # nobody edits it by accident


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync folders
            raise
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    """Removes what senders that died left behind."""
    for stage in folder.glob(".*.partial"):
        with contextlib.suppress(OSError):
            if time.time() - stage.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(stage, ignore_errors=True)
