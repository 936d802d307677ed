"""Simulator processes that share out the episodes.

Takes grid points and what an episode needs to know, hands each finished EpisodeRecord to a callback.
One simulator and one connection to the policy server per process; the parent gives out points one by
one over pipes, so it always knows who plays what. A process that dies costs its episode (recorded as an
error), not the evaluation; a policy server that dies ends it, with everything finished on record.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from stair.errors import StairError
from stair.evaluate.config import EvalConfig
from stair.evaluate.episodes import EpisodeRecord
from stair.sim.contract import GridPoint

HOPELESS = 5
"""This many errors before any episode comes to its end: the evaluation gives up."""


@dataclass(frozen=True)
class Order:
    """One episode to play."""

    point: GridPoint
    film: bool


@dataclass(frozen=True)
class Worksite:
    """What every episode of an evaluation shares."""

    address: str
    config: EvalConfig
    policy: str
    """Name of the policy, for the records."""


@dataclass(frozen=True)
class _Refusal:
    """Why a process cannot work at all; an expected failure on its way to the parent."""

    kind: type[StairError]
    what: str
    hint: str


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    order: Order | None = None


def run_orders(
    orders: Sequence[Order], site: Worksite, workers: int, on_record: Callable[[EpisodeRecord], None]
) -> None:
    """Plays every order; `on_record` runs in this process, in the order in which episodes end.

    Raises StairError when the policy server is lost, when policy and simulator do not fit, or when the
    first episodes all end in errors.
    """
    left = deque(orders)
    finished = errors = 0
    pool: list[_Worker] = []
    leaving: list[_Worker] = []
    try:
        pool.extend(_start(site) for _ in range(min(max(1, workers), len(left))))
        while pool:
            for ready in wait([worker.pipe for worker in pool]):
                worker = next(worker for worker in pool if worker.pipe is ready)
                heard = _hear(worker)
                if isinstance(heard, _Refusal):
                    raise heard.kind(heard.what, hint=heard.hint)
                if heard is None:  # it died
                    heard = _loss(worker, site)
                    _stop(worker)
                    pool.remove(worker)
                    if left:
                        pool.append(_start(site))
                if isinstance(heard, EpisodeRecord):
                    on_record(heard)
                    finished, errors = finished + (not heard.error), errors + bool(heard.error)
                    if errors >= HOPELESS and not finished:
                        raise StairError(
                            f"the first {errors} episodes all ended in errors, the last: {heard.error}",
                            hint="mend that, then repeat this command",
                        )
                if worker in pool:
                    worker.order = left.popleft() if left else None
                    _tell(worker)
                    if worker.order is None:
                        pool.remove(worker)
                        leaving.append(worker)
        for worker in leaving:
            worker.process.join(timeout=10)
    finally:
        for worker in pool + leaving:
            _stop(worker)


def _start(site: Worksite) -> _Worker:
    # spawn: a forked child would inherit the parent's threads and, later, a simulator's GPU state.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(site, theirs), daemon=True)
    threads = os.environ.get("OMP_NUM_THREADS")
    # Many simulators on few cores: each with one thread for its linear algebra, unless told otherwise.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        process.start()
    finally:
        if threads is None:
            os.environ.pop("OMP_NUM_THREADS", None)
    theirs.close()
    return _Worker(process, ours)


def _hear(worker: _Worker) -> Any:
    """What a process says: "ready", a record or a refusal; None when it died."""
    try:
        return worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join(timeout=5)
        return None


def _loss(worker: _Worker, site: Worksite) -> EpisodeRecord:
    """The record of the episode that a process took with it. Raises StairError when it had none yet."""
    code = worker.process.exitcode
    if worker.order is None:
        raise StairError(
            f"a simulator process died while starting (exit code {code})",
            hint="run one alone to see why: --workers 1",
        )
    return replace(_blank(worker.order.point, site), error=f"the simulator process died (exit code {code})")


def _tell(worker: _Worker) -> None:
    with contextlib.suppress(OSError):  # it died between two episodes: the next thing heard says so
        worker.pipe.send(worker.order)


def _stop(worker: _Worker) -> None:
    worker.pipe.close()
    if worker.process.is_alive():
        worker.process.terminate()
    worker.process.join(timeout=5)


def _work(site: Worksite, pipe: Connection) -> None:
    """The life of one process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    from stair.policy.contract import check_conventions
    from stair.policy.remote import RemotePolicy, ServerGone
    from stair.sim.build import make_simulator
    from stair.sim.tasks import find_task

    config = site.config
    try:
        policy = RemotePolicy(site.address, config.timeout_s)
        options = {"image_size": config.camera} if config.camera else {}
        simulator = make_simulator(config.simulator, **options)
        for task in config.tasks:
            robot = find_task(config.simulator, task).robot
            check_conventions(policy.spec, robot.unnorm_key, robot.convention)
        pipe.send("ready")
        while (order := pipe.recv()) is not None:
            try:
                record = _play(order, site, simulator, policy)
            except ServerGone:
                raise
            except Exception as error:  # whatever a simulator may do, the other episodes go on
                record = replace(_blank(order.point, site), error=_in_words(error))
            pipe.send(record)
        policy.close()
        simulator.close()
    except StairError as error:
        pipe.send(_Refusal(type(error), error.what, error.hint))
    except (EOFError, BrokenPipeError):
        pass  # the parent is gone


def _play(order: Order, site: Worksite, simulator: Any, policy: Any) -> EpisodeRecord:
    from stair.evaluate.rollout import make_control, run_episode
    from stair.sim.tasks import find_task

    config, started = site.config, time.perf_counter()
    robot = find_task(config.simulator, order.point.task).robot
    rollout = run_episode(
        simulator,
        robot,
        policy,
        order.point,
        make_control(config.control, robot, execute=config.execute, alpha=config.ensemble_alpha),
        config.seed,
        action_scale=config.action_scale,
        instruction=config.instruction,
        film=order.film,
    )
    took_s = time.perf_counter() - started
    video = ""
    if order.film:
        from stair.evaluate.film import save_film
        from stair.rundir import RunDir

        run = RunDir(Path(config.run))
        video = str(save_film(run.videos, order.point.key, rollout).relative_to(run.path))
    return replace(
        _blank(order.point, site),
        instruction=rollout.instruction,
        success=rollout.success,
        success_ever=rollout.success_ever,
        first_success=rollout.first_success,
        steps=rollout.steps,
        queries=rollout.queries,
        wall_s=round(took_s, 3),
        video=video,
    )


def _blank(point: GridPoint, site: Worksite) -> EpisodeRecord:
    """The record of an episode before anything has happened in it."""
    return EpisodeRecord(
        key=point.key,
        task=point.task,
        episode_id=point.episode_id,
        variant=point.variant,
        instruction="",
        success=False,
        success_ever=False,
        first_success=None,
        steps=0,
        queries=0,
        wall_s=0.0,
        seed=site.config.seed,
        policy=site.policy,
    )


def _in_words(error: Exception) -> str:
    if isinstance(error, StairError):
        return error.what
    return f"{type(error).__name__}: {error}".splitlines()[0]
