"""A training run of seconds: twelve tabletop demonstrations and a model of some ten thousand parameters."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from stair import settings
from stair.collect.config import CollectConfig
from stair.collect.dataset import collect
from stair.train.config import TrainConfig
from stair.train.run import train
from stair.train.world import World, join_world, leave_world
from tests.models.small import CONFIG, INPUTS

ALONE = World(torch.device("cpu"))
HELD: list[socket.socket] = []
"""Ports that tests have asked for, until this process ends."""


def make_data(root: Path) -> Path:
    """Writes the demonstrations under `root`."""
    collect(CollectConfig(root=str(root), episodes=12, image_size=32, workers=0))
    return root


def settings_of(run: Path, root: Path, **flags: Any) -> TrainConfig:
    """Settings for a run in `run`; `flags` are overrides with `__` for the dots."""
    base = replace(TrainConfig(), run=str(run), steps=6, inputs=INPUTS, model=CONFIG)
    changes: dict[str, Any] = {
        "data.root": str(root),
        "data.batch_size": 4,
        "data.workers": 0,
        "engine.precision": "fp32",
        "engine.device": "cpu",
        "engine.threads": 1,
        "optimizer.learning_rate": 1e-3,
        "tracking.log_every": 1,
    } | {name.replace("__", "."): value for name, value in flags.items()}
    return settings.build(TrainConfig, settings.override(settings.dump(base), list(changes.items())))


def train_here(config: TrainConfig) -> int:
    """Trains in this process, alone."""
    threads = torch.get_num_threads()
    world = join_world(config.engine, {})
    try:
        return train(config, world)
    finally:
        leave_world(world)
        torch.set_num_threads(threads)


def start(config: TrainConfig, *, code: str = "", **environment: str) -> subprocess.Popen[str]:
    """Starts `python -m stair.train`, or `code` with its words."""
    return _start(("-c", code) if code else ("-m", "stair.train"), config, environment)


def launch(
    config: TrainConfig, *options: str, processes: int = 2, **environment: str
) -> subprocess.Popen[str]:
    """Starts `python -m stair.train.launch`, with more of its options if any."""
    words = ("-m", "stair.train.launch", "--processes", str(processes), *options)
    return _start(words, config, environment)


def launch_nodes(config: TrainConfig, logs: Path, nodes: int = 2) -> list[subprocess.Popen[str]]:
    """Starts the launchers of several nodes that are all this machine, with one process each."""
    place = {
        "STAIR_NODES": str(nodes),
        "STAIR_RENDEZVOUS": f"127.0.0.1:{free_port()}",
        "STAIR_ATTEMPT": "7.0",
    }
    return [
        launch(config, "--logs", str(logs / f"node{node}"), processes=1, **place, STAIR_NODE_RANK=str(node))
        for node in range(nodes)
    ]


def free_port() -> int:
    """A port that nobody has and nobody is given before the run listens on it, seconds later: it stays bound
    here, which does not keep out those who use addresses again (SO_REUSEADDR), as torch's store does."""
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind(("127.0.0.1", 0))
    HELD.append(probe)
    return probe.getsockname()[1]


def _start(
    words: Sequence[str], config: TrainConfig, environment: Mapping[str, str]
) -> subprocess.Popen[str]:
    file = Path(config.run + ".yaml")
    file.write_text(yaml.safe_dump(settings.dump(config)))
    return subprocess.Popen(
        [sys.executable, *words, "--config", str(file)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_nodes(config: TrainConfig, nodes: int = 2) -> list[subprocess.Popen[str]]:
    """Starts one training process on each of several nodes that are all this machine."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(nodes)}
    place = {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    return [start(config, **meeting, **place, RANK=str(rank)) for rank in range(nodes)]


def end(processes: Iterable[subprocess.Popen[str]]) -> None:
    """Ends what a failed test left running; launchers take their own children along."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
            try:
                process.communicate(timeout=40)
            except subprocess.TimeoutExpired:
                process.kill()


def output_of(process: subprocess.Popen[str], seconds: float = 240.0) -> str:
    """All that a process says until its end."""
    try:
        return process.communicate(timeout=seconds)[0]
    finally:
        end([process])


def metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, every one whole."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def column(run: Path, name: str) -> list[float]:
    """One value of every logged step."""
    return [line[name] for line in metrics(run)]


def children(pid: int) -> list[int]:
    """The processes that a process has started and not yet buried."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in list(Path(f"/proc/{pid}/task").iterdir()):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended since
                found += map(int, (task / "children").read_text().split())
    return found


def wait_until(holds: Callable[[], Any], seconds: float = 240.0) -> None:
    """Waits; the machine may be busy."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(0.01)
