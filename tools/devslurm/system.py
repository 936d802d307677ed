"""Commands are run, processes found, conditions awaited: the few things all acting modules need.

The surprise: a process counts as dead when it is a zombie. The first process of a container or a small
virtual machine may reap late or never, and `kill -0` then says that a dead daemon lives.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stair.errors import COULD_NOT_CHECK, StairError

KILLED_S = 30.0
"""How long the kernel may take to end a process that was killed."""


class CannotHere(StairError):
    """This machine lacks what the command needs; one sentence says what."""

    exit_code = COULD_NOT_CHECK


@dataclass(frozen=True)
class Process:
    """One living process, as /proc has it."""

    pid: int
    name: str
    argv: tuple[str, ...]
    network: str
    """Its network namespace, such as net:[4026532198]; empty: not to be seen."""
    born: str = ""
    """When it started, in the kernel's ticks: with the id it tells a process from all others."""


def run(argv: Sequence[str], *, check: bool = True, timeout_s: float = 60.0, **options) -> str:
    """Runs a command and returns its output, stderr included; with `check` a failure is a StairError."""
    try:
        done = subprocess.run(
            argv,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            **{"stdin": None if "input" in options else subprocess.DEVNULL, **options},
        )
    except FileNotFoundError:
        raise CannotHere(f"no command '{argv[0]}' here", hint="tools/devcluster install") from None
    except subprocess.TimeoutExpired:
        raise StairError(f"{argv[0]} did not answer within {timeout_s:.0f} s", hint=" ".join(argv)) from None
    if check and done.returncode:
        said = done.stdout.strip().splitlines()[-1:] or ["without a word"]
        raise StairError(f"{argv[0]} failed ({done.returncode}): {said[0]}", hint=" ".join(argv))
    return done.stdout


def missing_commands(names: Iterable[str]) -> list[str]:
    """Those of `names` that are not on PATH; the sbin folders count, though users often lack them."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [name for name in names if not shutil.which(name, path=path)]


def processes() -> list[Process]:
    """Every living process that is not a zombie."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            process = _read_process(int(folder.name))
            if process:
                found.append(process)
    return found


def _read_process(pid: int) -> Process | None:
    folder = Path(f"/proc/{pid}")
    try:
        # pid (name) state ...; the name itself may hold brackets and spaces
        before, _, after = folder.joinpath("stat").read_text().rpartition(")")
        state, born = after.split()[0], after.split()[19]
        if state in "ZX":
            return None
        argv = folder.joinpath("cmdline").read_bytes().decode(errors="replace").split("\0")
        try:
            network = os.readlink(folder / "ns" / "net")
        except OSError:
            network = ""
        return Process(pid, before.partition("(")[2], tuple(argv[:-1]), network, born)
    except (OSError, IndexError):
        return None


def read_pid(file: Path, name: str) -> int | None:
    """The process of a pid file, if it lives and is called `name`; stale files and reused ids are no one."""
    try:
        pid = int(file.read_text())
    except (OSError, ValueError):
        return None
    process = _read_process(pid)
    return pid if process and process.name == name else None


def end(pids: Iterable[int], *, patience_s: float = 5.0) -> list[int]:
    """Asks processes to end, kills those still there after `patience_s`; returns the killed ones. An id that
    has become another process's meanwhile is not signalled again."""
    met = {process.pid: process.born for process in map(_read_process, pids) if process}
    left = {pid: born for pid, born in met.items() if _signal(pid, signal.SIGTERM)}
    ended = wait_until(lambda: not _alive(left), patience_s)
    killed = {} if ended else {pid: left[pid] for pid in _alive(left) if _signal(pid, signal.SIGKILL)}
    wait_until(lambda: not _alive(killed), KILLED_S)
    return list(killed)


def _alive(left: Mapping[int, str]) -> list[int]:
    now = {pid: _read_process(pid) for pid in left}
    return [pid for pid, process in now.items() if process and process.born == left[pid]]


def _signal(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition: Callable[[], object], timeout_s: float, every_s: float = 0.05) -> bool:
    """Whether `condition` became true within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


def tail(file: Path, lines: int = 3) -> str:
    """The last lines of a log, for a hint."""
    try:
        return " | ".join(file.read_text(errors="replace").strip().splitlines()[-lines:])
    except OSError:
        return f"no log {file}"
