"""Whether the paths of a plan are where the job will look for them.

Takes Paths: what the steps read and write, and what is bound; hands on a Verdict. `look` does all the
looking, `check_paths` all the judging. The surprise: a path in the settings is one *inside* the image, so
it is followed back through the binds before it is looked for on this machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from pathlib import PurePosixPath

from stair.frozen import frozen
from stair.submit.preflight.verdict import Refusal, Verdict

NODE_LOCAL = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/local", "/localscratch")
"""Where every node usually has a file system of its own."""
FEW_BYTES, FEW_FILES = 16_000_000, 100
"""With less than that left, not even plan, code and logs of a run fit."""


@frozen
class Reads:
    """One path that a step reads."""

    step: str
    path: str
    setting: str
    """The flag that named it, such as --stage1.train.data.root."""
    inside: bool = True
    """Read in an image; else on the host."""


@frozen
class Paths:
    """Everything of a plan that lies on a disk."""

    run: str
    cwd: str
    reads: tuple[Reads, ...] = ()
    made: Mapping[str, str] = field(default_factory=dict)
    """Folders that steps of the plan fill, and the step."""
    binds: tuple[str, ...] = ()
    """HOST or HOST:INSIDE[:options]; the run and the working folder are bound anyway."""
    bytes_needed: int = 0
    """What the run will write; 0: not known."""
    elsewhere: bool = False
    """The job runs on other machines than this one."""


@frozen
class Seen:
    """What this machine says about a path."""

    exists: bool
    readable: bool = False
    parent: str = "/"
    """The nearest part of it that exists."""
    writable: bool = False
    """That part."""
    free_bytes: int = 0
    """For this user, on its file system; quotas are not known."""
    free_files: int | None = None
    """How many more files it takes; None: it does not count them."""


def look(paths: Iterable[str]) -> dict[str, Seen]:
    """Asks the file systems; never raises."""
    return {path: _look_at(path) for path in dict.fromkeys(paths)}


def paths_to_look_at(paths: Paths) -> tuple[str, ...]:
    """Every path on this machine that `check_paths` wants to know of."""
    hosts = (bind.split(":")[0] for bind in paths.binds)
    reads = (_on_host(reads, paths) for reads in paths.reads if not _maker(reads, paths))
    return (paths.run, paths.cwd, *hosts, *reads)


def check_paths(paths: Paths, seen: Mapping[str, Seen]) -> Verdict:
    """Judges what was seen. Pure."""
    return Verdict((*_missing(paths, seen), *_run_folder(paths, seen)), tuple(_notes(paths)))


def _missing(paths: Paths, seen: Mapping[str, Seen]) -> Iterator[Refusal]:
    for bind in paths.binds:
        host = bind.split(":")[0]
        if not seen[host].exists:
            possible = f"there is only {seen[host].parent}"
            yield Refusal("bind", "any", f"the bind '{bind}'", possible, "container.binds of the profile")
    for reads in paths.reads:
        if _maker(reads, paths):
            continue
        host = _on_host(reads, paths)
        shown = reads.path if host == reads.path else f"{reads.path} ({host} on this machine)"
        if not seen[host].exists:
            possible = f"there is only {seen[host].parent}, and no step makes it"
            yield Refusal("path", reads.step, shown, possible, f"{reads.setting} with a path that exists")
        elif not seen[host].readable:
            cure = f"{reads.setting} with another path, or its owner's permission"
            yield Refusal("path-permission", reads.step, shown, "you may not read it", cure)


def _run_folder(paths: Paths, seen: Mapping[str, Seen]) -> Iterator[Refusal]:
    run = seen[paths.run]
    if not run.writable:
        yield Refusal(
            "run-folder",
            "any",
            f"the run folder {paths.run}",
            f"you may not write to {run.parent}",
            "--run DIR",
        )
    elif paths.bytes_needed > run.free_bytes:
        asked = f"about {_size(paths.bytes_needed)} in {paths.run}"
        cure = "--run DIR on another file system, or fewer checkpoints kept"
        yield Refusal("space", "any", asked, f"{_size(run.free_bytes)} are free there", cure)
    else:
        yield from refuse_full(paths.run, run)


def refuse_full(folder: str, seen: Seen) -> Iterator[Refusal]:
    """Where nothing can be written any more, whatever it is."""
    files = seen.free_files if seen.free_files is not None else FEW_FILES
    if seen.writable and (seen.free_bytes < FEW_BYTES or files < FEW_FILES):
        free = _size(seen.free_bytes) if seen.free_bytes < FEW_BYTES else f"{files} more files"
        cure = "--run DIR on another file system, or remove something there"
        yield Refusal("space", "any", f"the run folder {folder}", f"only {free} fit on its disk", cure)


def _notes(paths: Paths) -> Iterator[str]:
    if not paths.elsewhere:
        return
    hosts = (bind.split(":")[0] for bind in paths.binds)
    reads = (_on_host(reads, paths) for reads in paths.reads)
    for path in dict.fromkeys([paths.run, paths.cwd, *hosts, *reads]):
        root = next((root for root in NODE_LOCAL if _within(path, root)), None)
        if root:
            yield f"{path}: {root} is usually another place on every node; the job must find it there too"


def _on_host(reads: Reads, paths: Paths) -> str:
    """Where a path of the settings lies on this machine: the deepest bind that covers it leads there."""
    path = os.path.normpath(os.path.join(paths.cwd, reads.path))
    best = ("", "")
    for bind in paths.binds if reads.inside else ():
        host, _, rest = bind.partition(":")
        inside = rest.split(":")[0] or host
        if _within(path, inside) and len(inside) > len(best[0]):
            best = (inside, host)
    return path if not best[0] else os.path.normpath(os.path.join(best[1], os.path.relpath(path, best[0])))


def _maker(reads: Reads, paths: Paths) -> str:
    """The step of the plan that makes a path before it is read; empty for none."""
    path = os.path.normpath(os.path.join(paths.cwd, reads.path))
    return next(
        (step for folder, step in paths.made.items() if step != reads.step and _within(path, folder)), ""
    )


def _look_at(path: str) -> Seen:
    parent = os.path.abspath(path)
    while not os.path.lexists(parent) and parent != "/":
        parent = os.path.dirname(parent)
    try:
        space = os.statvfs(parent)
    except OSError:
        return Seen(False, parent=parent)
    return Seen(
        exists=os.path.exists(path),
        readable=os.access(path, os.R_OK),
        parent=parent,
        writable=os.access(parent, os.W_OK | os.X_OK),
        free_bytes=space.f_bavail * space.f_frsize,
        free_files=space.f_favail if space.f_files else None,
    )


def _within(path: str, folder: str) -> bool:
    return PurePosixPath(path).is_relative_to(folder)


def _size(size: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
