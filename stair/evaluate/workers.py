"""Simulator processes that share out the episodes.

Takes orders and what an episode needs to know, hands each finished EpisodeRecord to a callback. One
simulator and one connection to the policy server per process; the parent gives out orders one by one over
pipes, so it always knows who plays what. A process that dies or hangs is replaced, and its episode is played
again as often as the settings allow; a policy server that dies for good ends it all, with everything
finished on record. The surprise: an episode is the same whoever plays it, so playing one again cannot
flatter the result.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from stair.console import say
from stair.errors import StairError
from stair.evaluate.episodes import EpisodeRecord
from stair.evaluate.orders import Order, Orders, Scene
from stair.evaluate.simulating import Lost, Played, Ready, Refusal, Worksite, blank, work
from stair.interrupts import born_deaf
from stair.rundir import RunDir, make_folder
from stair.sim.contract import GridPoint
from stair.sim.tasks import EPISODES_A_PROCESS, find_task

START_S = 600.0
"""How long a process may take until it can play: a simulator is loaded from a busy file system, and policy
and robot are held against each other."""
LEAVE_S = 10.0
"""How long the processes may take to close their simulators at the end."""
DYING_S = 30.0
"""How long one whose pipe has ended may take to be dead, and to say of what."""
LONGEST_WORDS = 300


class DiedStarting(StairError):
    """No simulator process ever got ready."""


@dataclass
class _Worker:
    place: int
    """Which of the processes side by side it is; its successor has the same."""
    process: BaseProcess
    pipe: Connection
    log: Path
    samples: tuple[GridPoint, ...]
    """What it examines before it is ready."""
    since: float
    """When it got what it does now; on the monotonic clock."""
    heard_to: int
    """How long its log was then."""
    order: Order | None = None
    scene: Scene | None = None
    ready: bool = False
    played: int = 0


def run_orders(
    orders: Sequence[Order], site: Worksite, workers: int, on_record: Callable[[EpisodeRecord], None]
) -> None:
    """Plays every order; `on_record` runs in this process, in the order in which episodes end.

    Raises StairError when the policy server is lost, when policy and simulator do not fit, when processes
    die before they can play, or, after all others were played, when a task's first episodes all ended in
    errors.
    """
    crew = _Crew(Orders(orders, site.config.retries), site, _samples(orders, site), on_record)
    try:
        for place in range(min(max(1, workers), len(orders))):
            crew.start(place)
        while crew.pool:
            for worker in crew.listen():
                crew.attend(worker)
        crew.await_leaving()
    finally:
        crew.dissolve()
    despair = crew.orders.in_despair()
    if despair:
        raise StairError(despair, hint="mend that, then repeat this command")


@dataclass
class _Crew:
    """The processes, and what they still have to do."""

    orders: Orders
    site: Worksite
    samples: tuple[GridPoint, ...]
    on_record: Callable[[EpisodeRecord], None]
    pool: list[_Worker] = field(default_factory=list)
    leaving: list[_Worker] = field(default_factory=list)
    examined: bool = False
    """Whether policy and simulator were examined; nobody plays before."""
    stillborn: int = 0
    """Processes that died while starting, since the last one that did not."""

    @property
    def recycle(self) -> int:
        return self.site.config.recycle or EPISODES_A_PROCESS.get(self.site.config.simulator, 0)

    def start(self, place: int) -> None:
        """Starts a process; the first place examines for all."""
        samples = self.samples if place == 0 and not self.examined else ()
        config = self.site.config
        share = f"{config.shard:05d}-" if config.shards > 1 else ""
        log = RunDir(Path(config.run)).logs / "simulators" / f"{share}{place}.log"
        make_folder(log.parent)
        # spawn: a forked child would inherit the parent's threads and, later, a simulator's GPU state.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(self.site, theirs, log, samples), daemon=True)
        # Looked at before it starts: its last words may stand there before we look again.
        since, heard_to = time.monotonic(), _size(log)
        resource_tracker.ensure_running()  # else started beside the first process, and it unblocks
        # Ctrl-C is for us alone. To ignore it for now would lose one that comes now; blocked, it waits.
        with _one_thread_each(), born_deaf(signal.SIGINT):
            process.start()
            theirs.close()
            self.pool.append(_Worker(place, process, ours, log, samples, since, heard_to))

    def listen(self) -> list[_Worker]:
        """Waits until somebody says something, and returns who does. Who has taken too long is replaced."""
        busy = [worker for worker in self.pool if worker.order or not worker.ready]
        left = min(worker.since + self._limit_s(worker) for worker in busy) - time.monotonic()
        heard = wait([worker.pipe for worker in busy], max(0.0, left))
        if not heard:
            for worker in busy:
                limit_s = self._limit_s(worker)
                if time.monotonic() - worker.since >= limit_s:
                    self._replace(worker, f"no end within {limit_s:g} s, so it was ended")
        return [worker for worker in busy if worker.pipe in heard]

    def attend(self, worker: _Worker) -> None:
        """Takes in what a process says and gives it something to do."""
        said = _hear(worker)
        if isinstance(said, Refusal):
            worker.order = None
            self._take_in_what_is_played()
            raise said.kind(said.what, hint=said.hint)
        if said is None:
            self._replace(worker, _how_it_died(worker))
            return
        if isinstance(said, Ready):
            worker.ready, self.stillborn = True, 0
            self.examined |= worker.place == 0
            for remark in said.remarks:
                say(remark)
        elif isinstance(said, Lost):
            self._lose(worker, said.fault)
        elif isinstance(said, Played):
            self._record(said.record)
        worker.order = None
        worker.played += not isinstance(said, Ready)
        if self.examined:
            tired = worker.played and worker.played == self.recycle
            broken = isinstance(said, Lost) and not said.fit
            if tired or broken:
                self._dismiss(worker)
                if self.orders:
                    self.start(worker.place)
            for idle in [one for one in self.pool if one.ready and one.order is None]:
                self._occupy(idle)

    def await_leaving(self) -> None:
        """Lets the processes close what they have open."""
        deadline = time.monotonic() + LEAVE_S
        for worker in self.leaving:
            worker.process.join(timeout=max(0.0, deadline - time.monotonic()))

    def dissolve(self) -> None:
        """Ends every process that is left."""
        for worker in self.pool + self.leaving:
            worker.pipe.close()
            if worker.process.is_alive():
                worker.process.terminate()
        for worker in self.pool + self.leaving:
            _end(worker)

    def _limit_s(self, worker: _Worker) -> float:
        return self.site.config.episode_timeout_s if worker.ready else START_S

    def _occupy(self, worker: _Worker) -> None:
        """Gives an order to a process, or lets it go."""
        others = [one.scene for one in self.pool if one.order and one.scene]
        worker.order = self.orders.next(worker.scene, others)
        if worker.order is None:
            self._dismiss(worker)
            return
        worker.scene = worker.order.scene
        worker.since, worker.heard_to = time.monotonic(), _size(worker.log)
        _tell(worker)

    def _dismiss(self, worker: _Worker) -> None:
        worker.order = None
        _tell(worker)
        self.pool.remove(worker)
        self.leaving = [one for one in self.leaving if one.process.is_alive()] + [worker]

    def _replace(self, worker: _Worker, what: str) -> None:
        """Another process for one that was lost. Raises DiedStarting when none ever gets ready."""
        worker.pipe.close()
        worker.process.kill()
        _end(worker)
        self.pool.remove(worker)
        if not worker.ready:
            self.stillborn += 1
            if self.stillborn > self.site.config.retries:
                self._take_in_what_is_played()
                raise DiedStarting(
                    f"{self.stillborn} simulator processes died while starting, the last: {what}",
                    hint=f"all that they said is in {worker.log.parent}",
                )
        self._lose(worker, f"the simulator process: {what}")
        if self.orders:
            self.start(worker.place)

    def _take_in_what_is_played(self) -> None:
        """Before it all ends: others may have finished at the same moment."""
        for worker in self.pool:
            if worker.order and worker.pipe.poll() and isinstance(said := _hear(worker), Played):
                self._record(said.record)

    def _lose(self, worker: _Worker, fault: str) -> None:
        """Sees to the episode that broke off, if any: again, or an error on record."""
        given_up = self.orders.lost(worker.order, fault) if worker.order else None
        if given_up:
            tries = len(given_up.faults)
            error = f"{fault} ({tries} attempts)" if tries > 1 else fault
            record = replace(blank(given_up, self.site), attempts=tries, error=error)
            self._record(record)

    def _record(self, record: EpisodeRecord) -> None:
        self.on_record(record)
        self.orders.ended(record)


def _samples(orders: Sequence[Order], site: Worksite) -> tuple[GridPoint, ...]:
    """The first point of every robot."""
    found = {}
    for order in orders:
        robot = find_task(site.config.simulator, order.point.task).robot
        found.setdefault(robot, order.point)
    return tuple(found.values())


@contextlib.contextmanager
def _one_thread_each() -> Any:
    """Many simulators on few cores: each with one thread for its linear algebra, unless told otherwise."""
    told = "OMP_NUM_THREADS" in os.environ
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        yield
    finally:
        if not told:
            del os.environ["OMP_NUM_THREADS"]


def _hear(worker: _Worker) -> Any:
    """What a process says; None when it died."""
    try:
        return worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join(timeout=DYING_S)
        return None


def _tell(worker: _Worker) -> None:
    with contextlib.suppress(OSError):  # it died between two episodes: the next thing heard says so
        worker.pipe.send(worker.order)


def _end(worker: _Worker) -> None:
    worker.process.join(timeout=5)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join(timeout=5)


def _how_it_died(worker: _Worker) -> str:
    """Exit code or signal, and its last words."""
    code = worker.process.exitcode
    try:
        how = f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else ""
    except ValueError:
        how = f"killed by signal {-(code or 0)}"
    words = last_words(worker.log, worker.heard_to)
    return (how or f"died (exit code {code})") + (f": {words}" if words else "")


def last_words(log: Path, start: int) -> str:
    """What a log says last from byte `start` on: of a crash the line that names it, else the last line."""
    try:
        with log.open("rb") as file:
            file.seek(max(start, _size(log) - 20_000))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    except OSError:
        return ""
    crash = [line for line in lines if line.startswith("Fatal Python error")]
    spoken = crash or [line for line in lines if line]
    return spoken[-1][:LONGEST_WORDS] if spoken else ""


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0
