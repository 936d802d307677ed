"""Who says what on a cluster: argv and environment of every process of its nodes and daemons.

Looks into /proc again and again, since a secret may stand there for a tenth of a second only. What lives
shorter than that is not seen. The surprise: between two files of a process it may become another program, and
the argv of one would be blamed for the environment of the next.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from tools.devslurm import network
from tools.devslurm.shape import Cluster

EVERY_S = 0.05


class Spy:
    """Watches from `with` to its end."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.seen: dict[tuple[int, bytes], bytes] = {}
        """Process and argv → environment."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Spy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def argvs(self) -> Iterator[bytes]:
        """Every argv that was seen, words joined by blanks."""
        return (argv.replace(b"\0", b" ") for _, argv in self.seen)

    def argvs_with(self, text: str) -> list[bytes]:
        """The argvs of those whose environment holds a text."""
        found = {argv for (_, argv), environment in self.seen.items() if text.encode() in environment}
        return sorted(argv.replace(b"\0", b" ") for argv in found)

    def _watch(self) -> None:
        while not self._over.is_set():
            for process in network.members(self.cluster):
                found = look_at(process.pid)
                if found is not None:
                    self.seen[process.pid, found[0]] = found[1]
            time.sleep(EVERY_S)


def look_at(pid: int) -> tuple[bytes, bytes] | None:
    """Argv and environment of one program; None for what has just ended, or is just becoming another."""
    place = Path(f"/proc/{pid}")
    try:
        argv, environment = (place / "cmdline").read_bytes(), (place / "environ").read_bytes()
        return (argv, environment) if (place / "cmdline").read_bytes() == argv else None
    except OSError:
        return None
