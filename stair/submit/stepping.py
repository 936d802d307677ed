"""Runs one step as child processes here, and says how it ended: for the worker of this machine and for the
task on a node of Slurm alike.

Takes a Step, hands on an Ending. A policy server, if the step has one, is up before the step starts and gone
when this returns. The surprise: inside an image SIGTERM may look like exit 1, which also means an explained
error; only what the log says tells them apart.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from stair.cluster.container import runs_inside
from stair.cluster.graphics import on_this_node
from stair.frozen import frozen
from stair.rundir import RunDir, make_folder
from stair.submit.child import Child
from stair.submit.plan import Step
from stair.submit.verdict import LOST_PEER, Ending

CHECKPOINTED, BUG = 75, 70
"""Exit codes of stair.train: saved itself and left; a bug (EX_TEMPFAIL and EX_SOFTWARE of sysexits.h)."""
EXPLAINED = (1, 2)
NO_IMAGE = 255
"""What Apptainer leaves with when it could not start the program at all."""
CANNOT_DRAW = 3
"""What stair.evaluate leaves with when nothing can be drawn on this node, see stair/sim/render.py."""
WARNINGS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
POLITE = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP)
POLL_S = 0.05
OWN_SIGNAL_S = 2.0
"""How long one who is told to leave together with its children may hear of it after they do."""


class Stop:
    """Counts the signals that tell us to leave.

    `patient`: a second one changes nothing. Slurm signals every process of a job step, one by one and
    together, and ends those itself that take too long.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self.asked = 0
        self.patient = patient
        self.in_writing: Callable[[], int] = lambda: 0
        """How often it was asked by other means too: of signals that come close together one arrives."""
        for number in WARNINGS:
            signal.signal(number, self._ask)

    @property
    def hurried(self) -> bool:
        """Whether whoever asked will not wait any longer."""
        return not self.patient and max(self.asked, self.in_writing()) > 1

    def _ask(self, number: int, frame: object) -> None:
        self.asked += 1

    def no_more(self) -> None:
        """Lets signals change nothing: while Python ends, handlers are gone and a late one would kill it."""
        for number in WARNINGS:
            signal.signal(number, signal.SIG_IGN)


@frozen
class Stage:
    """Where a step runs."""

    cwd: str
    log: Path
    server_log: Path
    environment: Callable[[Sequence[str]], dict[str, str]]
    """All variables for an argv: an image gets others than the host."""
    grace_s: float
    """How long a step that was told to leave may take; infinite where others see to that."""
    replaced: Callable[[], bool] = lambda: False
    """Whether another attempt works on the step by now: this one is then ended at once."""


def log_file(run: RunDir, step: Step, part: str = "") -> Path:
    """The output of a step or of one member of it; `part`: of its `server`, of another node.

    On this machine the step's log also has the worker's own lines between attempts.
    """
    name = step.name if step.member is None else f"{step.name}/{step.member:05d}"
    return run.logs / f"{name}{part and '-'}{part}.log"


def run_step(step: Step, stage: Stage, stop: Stop, *, with_server: bool = True) -> Ending:
    """Runs a step to its end, or until it has left because of `stop`.

    Raises StairError when a command cannot be started here.
    """
    children: list[Child] = []

    def start(argv: tuple[str, ...], log: Path) -> Child:
        # The plan shows `--nv` for all that a driver needs: what it is here, the log tells.
        argv, environment, notes = on_this_node(argv, stage.environment(argv))
        if notes:
            make_folder(log.parent)
            with log.open("a") as file:
                file.write("".join(f"── {note}\n" for note in notes))
        children.append(Child(argv, log=log, cwd=stage.cwd, environment=environment))
        return children[-1]

    try:
        server = None
        if step.server and with_server and not stop.asked:
            step.address_file.parent.mkdir(parents=True, exist_ok=True)
            step.address_file.unlink(missing_ok=True)
            server = start(step.server, stage.server_log)
            trouble = _wait_for_server(step, server, stop)
            if trouble and not _is_told(server, stop):
                return _of_server(server, trouble)
        if stop.asked:
            return Ending("checkpointed", why="told to leave before it started", time=time.time())
        main = start(step.argv, stage.log)
        while main.exit_code() is None and not stop.asked and not stage.replaced():
            if server and server.exit_code() is not None:
                break
            time.sleep(POLL_S)
        told = _is_told(main, stop) or (server is not None and _is_told(server, stop))
        lost = server if server and server.exit_code() is not None and main.exit_code() != 0 else None
        if lost and not told and not stage.replaced():
            # Also where both ended between two looks: a step that lost its server has an error of its own.
            return _of_server(lost, f"its policy server died, {how_it_ended(lost)}")
        if stop.asked:
            main.tell_to_leave()
            _wait_to_leave(main, stop, stage)
        if stage.replaced():
            main.end(0.0)
            return Ending("retryable", "node", "another attempt has taken its place", time=time.time())
        return judge(main, stopped=bool(stop.asked))
    finally:
        for child in reversed(children):
            child.end(0.0 if stop.hurried else min(5.0, stage.grace_s))


def judge(child: Child, *, stopped: bool) -> Ending:
    """What the end of a child means; one that still runs did not leave when `stopped`."""
    code = child.exit_code()
    said = child.last_words()
    ending = Ending("fatal", code=code or 0, log=str(child.log), hint=said.hint, time=time.time())
    if code is None:
        why = "told to leave, it did not; its time was over"
        return replace(ending, verdict="retryable", cause="crash", why=why)
    ending = replace(ending, why=how_it_ended(child))
    number = killed_by(child)
    if code == 0:
        return replace(ending, verdict="done", why="", hint="")
    if code == CHECKPOINTED:
        return replace(ending, verdict="checkpointed", why="told to leave, it saved itself and left", hint="")
    if stopped and _may_have_left(child):
        why = "told to leave, it left without a word; it goes on from what was saved before"
        return replace(ending, verdict="checkpointed", why=why)
    if code == LOST_PEER or number is not None:
        return replace(ending, verdict="retryable", cause="crash")
    if code == CANNOT_DRAW and "stair.evaluate" in child.argv:
        return replace(ending, verdict="retryable", cause="node")
    if code == NO_IMAGE and runs_inside(child.argv):
        why = f"its image did not start: {child.last_words('FATAL:').what}"
        return replace(ending, verdict="retryable", cause="node", why=why)
    return ending


def killed_by(child: Child) -> int | None:
    """The signal that ended it. Apptainer repeats that of its program, or leaves with 128 more than it."""
    code = child.exit_code() or 0
    if code < 0:
        return -code
    return code - 128 if runs_inside(child.argv) and 128 < code < 160 else None


def _may_have_left(child: Child) -> bool:
    """Whether it ended of the order to leave: by its signal, or with 128 more than that, as an
    evaluation and shells do; an image may hide both."""
    code = child.exit_code() or 0
    silent = code == 1 and runs_inside(child.argv) and not child.explained()
    return killed_by(child) in POLITE or code - 128 in POLITE or silent


def how_it_ended(child: Child) -> str:
    """The exit code with the child's last words, or the signal: who is killed has no last words."""
    number = killed_by(child)
    if number is None:
        return f"exit {child.exit_code()}: {child.last_words().what}"
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"killed by {name}" + (", often for want of memory" if number == signal.SIGKILL else "")


def _of_server(server: Child, why: str) -> Ending:
    if server.exit_code() is None:
        return Ending("retryable", "crash", why, log=str(server.log), time=time.time())
    ending = replace(judge(server, stopped=False), why=why, hint="")
    # A server has no reason to end before its step.
    return replace(ending, verdict="fatal") if ending.verdict in ("done", "checkpointed") else ending


def _wait_to_leave(child: Child, stop: Stop, stage: Stage) -> None:
    """Waits for a child that was told to leave; who is in a hurry ends the waiting."""
    deadline = time.monotonic() + stage.grace_s
    while child.exit_code() is None and not stop.hurried and not stage.replaced():
        if time.monotonic() > deadline:
            return
        time.sleep(POLL_S)


def _is_told(child: Child, stop: Stop) -> bool:
    """Whether we are told to leave. Slurm signals all processes of a step, one after the other: a child may
    have got the order, and died of it, before we hear of it."""
    deadline = time.monotonic() + OWN_SIGNAL_S
    while _may_have_left(child) and not stop.asked and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return stop.asked > 0


def _wait_for_server(step: Step, server: Child, stop: Stop) -> str:
    """Waits until the server answers; empty when it does, else what went wrong."""
    deadline = time.monotonic() + step.server_timeout_s
    while not stop.asked:
        if server.exit_code() is not None:
            return f"its policy server did not start, {how_it_ended(server)}"
        if _is_healthy(_address(step)):
            return ""
        if time.monotonic() > deadline:
            return f"its policy server did not answer within {step.server_timeout_s:.0f} s"
        time.sleep(POLL_S)
    return "stopped"


def _address(step: Step) -> str:
    """Where the server says it is; empty as long as it says nothing. One that ends takes its word back."""
    try:
        return step.address_file.read_text().strip()
    except OSError:
        return ""


def _is_healthy(address: str) -> bool:
    """Whether `ws://host:port` answers GET /healthz with 200."""
    if not address:
        return False
    # Only here: few steps have a server, and of thousands of short members each would pay for it.
    import http.client
    import urllib.request

    url = "http" + address.removeprefix("ws").rstrip("/") + "/healthz"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy
    try:
        with opener.open(url, timeout=5) as answer:
            return answer.status == 200
    except (OSError, ValueError, http.client.HTTPException):  # URLError is an OSError
        return False
