"""Who says what on a cluster: argv and environment of every process of its nodes and daemons.

Looks into /proc again and again, since a secret may stand there for a tenth of a second only. What lives
shorter than that is not seen.
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
                place = Path(f"/proc/{process.pid}")
                try:
                    argv = (place / "cmdline").read_bytes()
                    self.seen[process.pid, argv] = (place / "environ").read_bytes()
                except OSError:
                    continue  # it has just ended
            time.sleep(EVERY_S)
