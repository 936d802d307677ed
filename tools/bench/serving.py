"""How close the batched server comes to what simulators and model allow at best, with 1, 4 and 16 workers.

    python tools/bench/serving.py [--step_ms 60] [--fixed_ms 40] [--each_ms 2] [--seconds 8]

Prints JSON lines. Every worker is a process with a real connection that plays episodes with rollout.py in a
simulator which does nothing but sleep `step_ms` a step (with `jitter`, that much more or less); the policy
sleeps m(b) = fixed_ms + b · each_ms for a batch of b. A query is made at every step, so steps are queries.

`ideal` is the most steps a second that any server could reach: the largest value over all mean batch sizes
b >= 1 of min(b / m(b), N / (step + m(b))). The first part is the model when it never rests (m is a line, so
mean time = time of the mean); the second are N simulators that never wait for anything but their own batch
(an answer that a batch of b gives takes m(b) at least, and a query meets a batch of the mean size or more).
Neither can be beaten, and both cannot be had at once except at the crossing.

`overhead_ms` is what a query takes beyond the model, here of no time, with one client that asks every 10 ms:
packing, two ways through the socket, the batcher, unpacking. It is the median of the quietest of twelve
rounds, since others on the machine can only add to it, and `typical_ms` is the median of all.
`against_serial` compares with one simulator and the policy in one process, taking turns, in the same run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from stair.policy.contract import ActionConvention, PolicySpec, Query
from stair.sim.contract import GridPoint, Observation, StepResult
from stair.sim.tasks import TABLETOP

WORKERS = (1, 4, 16)
WARM_S = 3.0
ROUNDS = 12
LENGTH = 60


@dataclass(frozen=True)
class Times:
    """What is known beforehand, in seconds."""

    step: float
    fixed: float
    each: float
    jitter: float = 0.0

    def model(self, batch: float) -> float:
        return self.fixed + batch * self.each

    def ideal(self, workers: int) -> float:
        """Steps a second; see above."""
        sizes = np.linspace(1.0, workers, 10_000)
        bounds = np.minimum(sizes / self.model(sizes), workers / (self.step + self.model(sizes)))  # type: ignore[arg-type]
        return float(bounds.max())


class SleepingPolicy:
    """Takes its time, and says nothing."""

    def __init__(self, times: Times) -> None:
        self.times = times
        self.spec = PolicySpec(
            name="sleeping",
            chunk=2,
            image_size=64,
            unnorm_keys=("tabletop",),
            conventions={"tabletop": ActionConvention()},
        )

    def act_batch(self, queries: list[Query]) -> np.ndarray:
        _sleep(self.times.model(len(queries)))
        return np.zeros((len(queries), 2, 7), np.float32)

    def act(self, query: Query) -> np.ndarray:
        return self.act_batch([query])[0]

    def close(self) -> None:
        pass


class SleepingSimulator:
    """Steps in a known time; episodes of `LENGTH` steps."""

    def __init__(self, times: Times, side: tuple[int, int], seed: int, made: list[float]) -> None:
        self.times, self.dice, self.made = times, random.Random(seed), made
        self.observation = Observation(np.zeros((*side, 3), np.uint8), "go")

    def reset(self, point: GridPoint) -> Observation:
        self.steps = 0
        return self.observation

    def step(self, action: np.ndarray) -> StepResult:
        _sleep(self.times.step * (1 + self.dice.uniform(-1, 1) * self.times.jitter))
        self.steps += 1
        self.made.append(time.perf_counter())
        return StepResult(self.observation, False, self.steps >= LENGTH)

    def close(self) -> None:
        pass


def _sleep(seconds: float) -> None:
    """As long as told: a plain sleep comes back late, by more than the server may cost."""
    end = time.perf_counter() + seconds
    time.sleep(max(0.0, seconds - 0.0015))  # an idle virtual machine wakes that late
    while time.perf_counter() < end:
        pass


def _serve(times: Times, pipe: Connection) -> None:
    import asyncio

    from stair.serve.config import ServeConfig
    from stair.serve.server import serve_policy

    asyncio.run(serve_policy(SleepingPolicy(times), ServeConfig(port=0), pipe.send))


def _play(times: Times, address: str, side: tuple[int, int], until: float, pipe: Connection) -> None:
    """Episodes until the clock says `until`; sends when each step was made."""
    from stair.evaluate.rollout import make_control, run_episode
    from stair.policy.memory import keep_memory
    from stair.policy.remote import RemotePolicy

    keep_memory()
    made: list[float] = []
    policy = RemotePolicy(address) if address else SleepingPolicy(times)
    simulator = SleepingSimulator(times, side, os.getpid(), made)
    pipe.send("ready")
    until += pipe.recv()
    while time.perf_counter() < until:
        control = make_control("chunk", TABLETOP, execute=1, alpha=0.1)
        run_episode(simulator, TABLETOP, policy, GridPoint("any", 0), control, 0)
    policy.close()
    pipe.send(made)


@contextmanager
def serving(times: Times) -> Iterator[str]:
    """A server in a process of its own; its address."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=_serve, args=(times, theirs), daemon=True)
    server.start()
    try:
        yield ours.recv()
    finally:
        server.terminate()
        server.join()


def measure_overhead(side: tuple[int, int]) -> dict[str, float]:
    """Milliseconds of a query to a model that takes no time."""
    from stair.policy.memory import keep_memory
    from stair.policy.remote import RemotePolicy

    keep_memory()  # as stair.evaluate's workers do
    query = Query(np.zeros((*side, 3), np.uint8), "go", "tabletop", 0)
    rounds = []
    with serving(Times(0.0, 0.0, 0.0)) as address:
        policy = RemotePolicy(address)
        for _ in range(ROUNDS):
            took = []
            for _ in range(40):
                time.sleep(0.01)
                started = time.perf_counter()
                policy.act(query)
                took.append(1000 * (time.perf_counter() - started))
            rounds.append(float(np.median(took)))
        policy.close()
    return {"overhead_ms": round(min(rounds), 3), "typical_ms": round(float(np.median(rounds)), 3)}


def measure(times: Times, workers: int, seconds: float, side: tuple[int, int], address: str) -> float:
    """Steps a second within the window; without an address everybody has the policy to himself."""
    context = multiprocessing.get_context("spawn")
    pipes = []
    for _ in range(workers):
        ours, theirs = context.Pipe()
        # An episode is begun until the window is over, and played to its end.
        words = (times, address, side, WARM_S + seconds, theirs)
        context.Process(target=_play, args=words, daemon=True).start()
        pipes.append(ours)
    for pipe in pipes:
        pipe.recv()
    start = time.perf_counter()
    for pipe in pipes:
        pipe.send(start)
    told = [pipe.recv() for pipe in pipes]
    low, high = start + WARM_S, start + WARM_S + seconds
    return sum(low <= moment < high for made in told for moment in made) / seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--step_ms", type=float, default=60.0)
    parser.add_argument("--fixed_ms", type=float, default=40.0)
    parser.add_argument("--each_ms", type=float, default=2.0)
    parser.add_argument(
        "--jitter", type=float, default=0.0, help="share by which steps are longer or shorter"
    )
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--side", type=int, nargs=2, default=(128, 128), help="of the picture, in pixels")
    words = parser.parse_args()
    times = Times(words.step_ms / 1000, words.fixed_ms / 1000, words.each_ms / 1000, words.jitter)
    side = (words.side[0], words.side[1])
    for shape in ((96, 128), side):
        line = {"bench": "serving", "picture": f"{shape[1]}x{shape[0]}", **measure_overhead(shape)}
        print(json.dumps(line), flush=True)
    serial = measure(times, 1, words.seconds, side, "")
    for workers in WORKERS:
        with serving(times) as address:
            rate = measure(times, workers, words.seconds, side, address)
        line = {
            "bench": "serving",
            "workers": workers,
            "jitter": words.jitter,
            "steps_per_s": round(rate, 2),
            "ideal_per_s": round(times.ideal(workers), 2),
            "share_of_ideal": round(rate / times.ideal(workers), 4),
            "against_serial": round(rate / serial, 2),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
