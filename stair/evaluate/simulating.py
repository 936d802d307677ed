"""The life of one simulator process.

Takes orders over a pipe, hands a Played or a Lost back for each. It builds the simulator, holds it against
the policy before it says Ready, and plays. The surprise: all that it and its libraries print goes to a log
of its own, where the parent finds its last words.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from stair.errors import StairError, UsageError
from stair.evaluate.config import EvalConfig
from stair.evaluate.episodes import EpisodeRecord
from stair.evaluate.orders import Order
from stair.parent import die_with_parent
from stair.sim.contract import GridPoint, Robot

LONGEST_PAUSE_S = 5.0

T = TypeVar("T")


@dataclass(frozen=True)
class Worksite:
    """What every episode of an evaluation shares."""

    address: str
    config: EvalConfig
    policy: str
    """Name of the policy, for the records."""

    @property
    def patience_s(self) -> float:
        """How long a lost server is asked for again. A server that wrote an address file is watched by
        whoever started it."""
        return self.config.patience_s if "://" in self.config.policy else 0.0


@dataclass(frozen=True)
class Ready:
    """Policy and simulator are there and fit."""

    remarks: tuple[str, ...] = ()
    """What is to be said about how they fit."""


@dataclass(frozen=True)
class Played:
    """An episode came to its end, or to an error that it would come to again."""

    record: EpisodeRecord


@dataclass(frozen=True)
class Lost:
    """An episode broke off for a reason that may not come again."""

    fault: str
    fit: bool
    """Whether the process can go on."""


@dataclass(frozen=True)
class Refusal:
    """Why a process cannot work at all; an expected failure on its way to the parent."""

    kind: type[StairError]
    what: str
    hint: str


def work(site: Worksite, pipe: Connection, log: Path, samples: tuple[GridPoint, ...]) -> None:
    """Plays orders until None comes.

    samples: a point for every robot whose understanding with the policy is examined first.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means, see workers.py
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    die_with_parent(signal.SIGKILL)  # one that hangs must not outlive it
    if _is_orphan():
        return
    _speak_into(log)
    from stair.policy.memory import keep_memory
    from stair.policy.remote import ServerGone

    keep_memory()
    try:
        policy = join(site)
        simulator = build_simulator(site.config)
        pipe.send(Ready(examine_all(site.config, policy, simulator, samples)))
        while (order := pipe.recv()) is not None:
            try:
                answer = Played(play(order, site, simulator, policy))
            except ServerGone as gone:
                policy.close()
                policy = reconnect(site, policy.spec, gone)
                answer = Lost(gone.what, fit=True)
            except StairError as error:
                answer = Played(replace(blank(order, site), error=error.what))
            except Exception as error:  # whatever a simulator may do, the other episodes go on
                sys.excepthook(type(error), error, error.__traceback__)
                answer = Lost(f"{type(error).__name__}: {error}".splitlines()[0], fit=False)
            pipe.send(answer)
        policy.close()
        simulator.close()
    except StairError as error:
        pipe.send(Refusal(type(error), error.what, error.hint))
    except (EOFError, BrokenPipeError):
        pass  # the parent is gone


def connect(address: str, config: EvalConfig) -> Any:
    """The policy. Raises StairError when it is not there, or speaks something else."""
    from stair.policy.remote import RemotePolicy

    return RemotePolicy(
        address,
        config.timeout_s,
        speaks=config.speaks,
        image_key=config.image_key,
        prompt_key=config.prompt_key,
    )


def join(site: Worksite) -> Any:
    """The policy that the evaluation began with, for a process that comes later; raises as `reconnect`."""
    from stair.policy.remote import ServerGone, gone

    try:
        policy = connect(site.address, site.config)
    except UsageError:
        raise
    except StairError as error:
        lost = gone(site.address, error.why) if isinstance(error, ServerGone) else error
        return reconnect(site, None, lost)
    return _the_same(policy, site, None)


def reconnect(site: Worksite, spec: Any, gone: StairError) -> Any:
    """The same policy again; of one whose `spec` is not known yet, its name tells. Raises `gone` when it does
    not come back in time, StairError when another one answers at its address."""
    deadline, pause_s = time.monotonic() + site.patience_s, 0.25
    while time.monotonic() + pause_s < deadline:
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        try:
            policy = connect(site.address, site.config)
        except UsageError:
            raise
        except StairError:  # not there yet, or a port that answers before its server does
            continue
        return _the_same(policy, site, spec)
    raise gone


def _the_same(policy: Any, site: Worksite, spec: Any) -> Any:
    if policy.spec == spec or (spec is None and policy.spec.name == site.policy):
        return policy
    policy.close()
    raise StairError(
        f"{site.address} is served by another policy now: {policy.spec.name}",
        hint="start the one that this evaluation began with, then repeat this command",
    )


def build_simulator(config: EvalConfig) -> Any:
    """The simulator with what the settings say about it; the rest is its own choice."""
    from stair.sim.build import make_simulator

    said = {
        "image_size": config.camera,
        "max_steps": config.max_steps,
        "render": config.render,
        "assets": config.assets,
    }
    return make_simulator(config.simulator, **{name: value for name, value in said.items() if value})


def robot_of(config: EvalConfig, task: str) -> Robot:
    """The robot of a task, with the statistics that the settings ask for."""
    from stair.sim.tasks import find_task

    robot = find_task(config.simulator, task).robot
    return replace(robot, unnorm_key=config.unnorm_key) if config.unnorm_key else robot


def examine_all(
    config: EvalConfig, policy: Any, simulator: Any, samples: tuple[GridPoint, ...]
) -> tuple[str, ...]:
    """What is to be said about how the policy fits the robots of the samples. Raises StairError for what
    makes an evaluation meaningless."""
    from stair.evaluate.pitfalls.examine import examine, settle

    said: list[str] = []
    for point in samples:
        observation = simulator.reset(point)
        said += settle(examine(policy, robot_of(config, point.task), observation, config), config)
    return tuple(said)


def play(order: Order, site: Worksite, simulator: Any, policy: Any) -> EpisodeRecord:
    """One episode, filmed if ordered. Raises whatever simulator and policy raise."""
    from stair.evaluate.rollout import make_control, run_episode

    config, started = site.config, time.perf_counter()
    robot = robot_of(config, order.point.task)
    world, mind = _Stopwatch(), _Stopwatch()
    rollout = run_episode(
        _TimedSimulator(simulator, world),
        robot,
        _TimedPolicy(policy, mind),
        order.point,
        make_control(config.control, robot, execute=config.execute, alpha=config.ensemble_alpha),
        config.seed,
        action_scale=config.action_scale,
        instruction=config.instruction,
        noise=config.noise,
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
        blank(order, site),
        instruction=rollout.instruction,
        success=rollout.success,
        success_ever=rollout.success_ever,
        first_success=rollout.first_success,
        steps=rollout.steps,
        queries=rollout.queries,
        wall_s=round(took_s, 3),
        video=video,
        info=rollout.info,
        info_ever=rollout.info_ever,
        times_s={"simulator": round(world.seconds, 3), "policy": round(mind.seconds, 3)},
    )


def blank(order: Order, site: Worksite) -> EpisodeRecord:
    """The record of an episode before anything has happened in it."""
    point = order.point
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
        attempts=1 + len(order.faults),
        faults=order.faults,
    )


class _Stopwatch:
    """Adds up how long some calls take."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def time(self, call: Callable[..., T], *words: Any) -> T:
        started = time.perf_counter()
        try:
            return call(*words)
        finally:
            self.seconds += time.perf_counter() - started


class _TimedSimulator:
    """A simulator under a stopwatch."""

    def __init__(self, simulator: Any, watch: _Stopwatch) -> None:
        self.simulator, self.watch, self.close = simulator, watch, simulator.close

    def reset(self, point: GridPoint) -> Any:
        return self.watch.time(self.simulator.reset, point)

    def step(self, action: Any) -> Any:
        return self.watch.time(self.simulator.step, action)


class _TimedPolicy:
    """A policy under a stopwatch: the model's time and the way there and back."""

    def __init__(self, policy: Any, watch: _Stopwatch) -> None:
        self.policy, self.watch, self.spec, self.close = policy, watch, policy.spec, policy.close

    def act(self, query: Any) -> Any:
        return self.watch.time(self.policy.act, query)


def _is_orphan() -> bool:
    """Whether the parent was gone before its death could be asked for."""
    parent = parent_process()
    return parent is not None and parent.pid != os.getppid()


def _speak_into(log: Path) -> None:
    """Sends this process's output, that of C libraries too, to a file; a segfault leaves a stack there."""
    place = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for number in (1, 2):
        os.dup2(place, number)
    os.close(place)
    faulthandler.enable(2)
