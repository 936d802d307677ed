"""`python -m stair.train.launch --processes P [--logs DIR] [--wait-s S] [--] WORDS`: one node's training.

Takes this node's place from STAIR_NODES, STAIR_NODE_RANK, STAIR_RENDEZVOUS (host:port) and STAIR_ATTEMPT, and
without them is the only node; runs P processes of `python -m stair.train WORDS` under torchrun's agent and
leaves with one exit code for all of them. The surprise: the agent runs in a thread, where it installs no
signal handlers of its own. Those would end the processes after 30 s, in the middle of a save; ours ask once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stair.console import say, show
from stair.errors import StairError, UsageError
from stair.rundir import make_folder, write_json
from stair.train.__main__ import BUG, LAUNCHER, LOST_PEER, gist
from stair.train.ends import Cause, find_cause
from stair.train.rank import FOLDER, WORDS
from stair.train.stop import SIGNALS, StopRequest
from stair.train.watch import Watch

LOOK_S = 0.05
LOGS = "STAIR_LOGS"
"""Where the logs of the single processes go, if --logs does not say."""
FIRST = "first.json"
"""The note of the process that failed first, in the folder of the logs."""


@dataclass(frozen=True)
class Place:
    """This node among those of a launch; alone without a rendezvous."""

    nodes: int = 1
    node: int = 0
    rendezvous: str = ""
    attempt: str = "alone"


@dataclass(frozen=True)
class Launch:
    """What to start here."""

    processes: int
    words: tuple[str, ...]
    logs: str = ""
    """Empty: every process writes to the launcher's stderr, and nowhere else."""
    wait_s: float = 600.0
    """How long nodes wait for each other at the start."""


def read_words(words: Sequence[str], environment: Mapping[str, str]) -> Launch:
    """Our own options stand first; what follows belongs to the training. Raises UsageError."""
    values = {"--processes": "", "--logs": environment.get(LOGS, ""), "--wait-s": "600"}
    rest = list(words)
    while rest and rest[0] in values:
        if len(rest) < 2:
            raise UsageError(f"{rest[0]} needs a value", hint="--processes 2 --config FILE")
        values[rest[0]] = rest[1]
        del rest[:2]
    if rest[:1] == ["--"]:
        del rest[0]
    try:
        processes, wait_s = int(values["--processes"]), float(values["--wait-s"])
    except ValueError:
        raise UsageError(
            "--processes and --wait-s must be numbers", hint="--processes 2 --wait-s 600 --config FILE"
        ) from None
    if processes < 1:
        raise UsageError(f"--processes is {processes}", hint="1 or more")
    return Launch(processes, tuple(rest), values["--logs"], wait_s)


def read_place(environment: Mapping[str, str]) -> Place:
    """This node's place. Raises UsageError when the environment says only half of it."""
    names = ("STAIR_NODES", "STAIR_NODE_RANK", "STAIR_RENDEZVOUS")
    missing = [name for name in names if not environment.get(name)]
    if len(missing) == len(names):
        return Place()
    hint = "all of them or none: stair.submit.node sets them"
    if missing:
        raise UsageError(f"{' and '.join(missing)} missing in the environment", hint=hint)
    try:
        nodes, node = int(environment[names[0]]), int(environment[names[1]])
    except ValueError:
        raise UsageError(f"{names[0]} and {names[1]} must be numbers", hint=hint) from None
    if not 0 <= node < nodes or not re.search(r".:\d+$", environment[names[2]]):
        raise UsageError(
            f"node {node} of {nodes} at '{environment[names[2]]}' is no place in a launch", hint=hint
        )
    return Place(nodes, node, environment[names[2]], environment.get("STAIR_ATTEMPT", "alone"))


def launch(what: Launch, place: Place) -> int:
    """Runs the processes until all have ended. Returns the exit code for all of this node."""
    stop = StopRequest((*SIGNALS, signal.SIGINT, signal.SIGHUP)).listen()
    world = what.processes * place.nodes
    with tempfile.TemporaryDirectory(prefix="stair-launch-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        write_json(folder / WORDS, list(what.words))
        if what.logs:
            make_folder(Path(what.logs)).joinpath(FIRST).unlink(missing_ok=True)
        os.environ |= {FOLDER: name, LAUNCHER: str(os.getpid())}
        threads = max(1, len(os.sched_getaffinity(0)) // what.processes)
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
        agent = Agent(what, place)
        watch = Watch(folder)
        agent.start()
        while agent.is_alive():
            agent.join(LOOK_S)
            watch.look()
            if stop.wanted:
                watch.tell_all()
        notes = watch.last_notes(agent.codes)
    cause = find_cause(notes, world) if agent.error is None else _agents_end(agent.error, place)
    _tell(cause, what.logs)
    stop.deaf()
    return cause.code


class Agent(threading.Thread):
    """torchrun's agent and what came of it: `codes` by rank of the processes that failed."""

    def __init__(self, what: Launch, place: Place) -> None:
        super().__init__(name="agent", daemon=True)
        self.what, self.place = what, place
        self.codes: dict[int, int] = {}
        self.error: Exception | None = RuntimeError("torchrun's agent ended without a word")
        """What kept the agent from its work; None when all processes ran to some end."""

    def run(self) -> None:
        # Inherited by what this thread starts, each of which lets them in when it is ready to answer:
        # a signal that comes while Python starts is late then, not deadly.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self.codes = self._run()
            self.error = None
        except Exception as error:
            self.error = error

    def _run(self) -> dict[int, int]:
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.launcher.api import elastic_launch

        for name in ("torch.distributed.elastic", "torch.distributed.launcher"):
            logger = logging.getLogger(name)  # what it has to say, we say in fewer lines
            logger.addHandler(logging.NullHandler())
            logger.propagate = False
        try:
            elastic_launch(self._config(), sys.executable)("-m", "stair.train.rank")
        except ChildFailedError as error:
            return {rank: failure.exitcode for rank, failure in error.failures.items()}
        return {}

    def _config(self) -> Any:
        from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
        from torch.distributed.launcher.api import LaunchConfig

        what, place = self.what, self.place
        if what.logs:
            specs = DefaultLogsSpecs(log_dir=what.logs, redirects=Std.ALL, tee=Std.ALL)
        else:
            specs = DefaultLogsSpecs(log_dir=os.devnull)
        config = LaunchConfig(
            min_nodes=place.nodes,
            max_nodes=place.nodes,
            nproc_per_node=what.processes,
            logs_specs=specs,
            run_id=re.sub(r"[^A-Za-z0-9_.-]", "_", place.attempt),
            role="",
            rdzv_backend="static" if place.rendezvous else "c10d",
            rdzv_endpoint=place.rendezvous or "127.0.0.1:0",
            rdzv_configs={"timeout": int(what.wait_s)},
            max_restarts=0,
            monitor_interval=0.1,
            log_line_prefix_template="[${rank}] " if what.processes * place.nodes > 1 else "",
        )
        if place.rendezvous:
            config.rdzv_configs["rank"] = place.node
        else:
            config.local_addr = "127.0.0.1"  # or it asks the name service for this machine's full name
        return config


def _agents_end(error: Exception, place: Place) -> Cause:
    """The end of an agent that started nothing: its nodes did not meet, or it is a bug."""
    text = gist(error)
    kinds = {kind.__name__ for kind in type(error).__mro__}  # by name: torch itself may be what is broken
    if isinstance(error, OSError):
        return Cause(1, what=f"{error.filename}: {error.strerror}", hint="is the disk full?")
    if kinds & {"DistError", "RendezvousError"}:
        who = f"node {place.node} of {place.nodes}"
        return Cause(
            LOST_PEER,
            what=f"{who} did not meet the others at {place.rendezvous}: {text}",
            hint="another node that never started? its log; a firewall? network.interface of the profile",
        )
    traceback.print_exception(error)
    return Cause(BUG, what=f"the launcher failed: {text}", hint="this is a bug; the traceback says where")


def _tell(cause: Cause, logs: str) -> None:
    """Says who failed first and where its log is, for people and, beside the logs, for programs."""
    if not cause.what:
        return
    log = cause.first.log if cause.first else ""
    say(f"error: {StairError(cause.what + (f'; its log: {log}' if log else ''), hint=cause.hint)}")
    if logs:
        first = asdict(cause.first) if cause.first else {}
        with contextlib.suppress(StairError):  # said above already
            write_json(Path(logs) / FIRST, {**first, "what": cause.what, "hint": cause.hint, "log": log})


def main(words: Sequence[str]) -> int:
    """Launches as `words` say, and maps expected failures to two lines and an exit code."""
    if words[:1] in (["--help"], ["-h"]):
        show((__doc__ or "").strip())
        return 0
    try:
        return launch(read_words(words, os.environ), read_place(os.environ))
    except StairError as error:
        say(f"error: {error}")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
