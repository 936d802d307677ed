"""Many demonstrations become an RLDS data set, made by several processes and written by one.

Takes a CollectConfig, hands on the folder ROOT/tabletop/1.0.0. Demonstrations are written in the order of
their numbers, so the bytes do not depend on how many workers made them. The folder appears only when it
is complete, with the settings in collect.json: that is how a second run knows that nothing is to be done.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context, resource_tracker
from pathlib import Path
from typing import Any, TypeVar

from stair import console
from stair.collect.config import CollectConfig, check
from stair.collect.demonstrate import demonstrate
from stair.data.rlds_features import manipulation_features
from stair.data.rlds_writer import RldsWriter
from stair.errors import StairError, UsageError
from stair.interrupts import born_deaf
from stair.settings import dump

T = TypeVar("T")

NAME, VERSION = "tabletop", "1.0.0"
RECORD = "collect.json"
_EPISODES_PER_SHARD = 250
_LOT = 256  # how many are under way at once: bounds what waits in memory to be written


def collect(config: CollectConfig) -> Path:
    """Makes the data set, or finds it finished; returns its folder.

    Raises UsageError when other settings made what is there, StairError when it cannot be written.
    """
    check(config)
    folder = Path(config.root) / NAME / VERSION
    if folder.exists():
        _check_same(folder, config)
        console.say(f"{folder} is finished already, {config.episodes} demonstrations; nothing to do")
        return folder
    progress = console.Progress("demonstrations", config.episodes)
    made = in_order(partial(demonstrate, config), config.episodes, config.workers)
    steps = 0
    with RldsWriter(
        folder,
        name=NAME,
        features=manipulation_features(config.image_size, config.image_size),
        split_shards={"train": config.shards or -(-config.episodes // _EPISODES_PER_SHARD)},
        image_encoding="jpeg",
        jpeg_quality=config.jpeg_quality,
    ) as writer:
        for done, demonstration in enumerate(made, start=1):
            writer.add("train", demonstration.steps, demonstration.metadata)
            steps += len(demonstration.steps)
            progress.update(done, f"{steps} steps")
        _write_record(writer.work / RECORD, config)
    return folder


def settings_of(config: CollectConfig) -> dict[str, Any]:
    """What decides the bytes of a data set: all settings but where it lies and who makes it."""
    return {k: v for k, v in dump(config).items() if k not in ("root", "workers")}


def in_order(make: Callable[[int], T], count: int, workers: int) -> Iterator[T]:
    """Yields make(0) ... make(count - 1), made by `workers` processes.

    Raises what `make` raises, and StairError when a process dies.
    """
    if workers <= 1:
        yield from map(make, range(count))
        return
    spawn = get_context("spawn")  # forking a process that has threads is not safe
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_leave_interrupts) as pool:
        resource_tracker.ensure_running()  # else started beside the first worker, and it unblocks
        try:
            for first in range(0, count, _LOT):
                with born_deaf(signal.SIGINT):  # Ctrl-C goes to all, only the writing one should answer
                    made = pool.map(make, range(first, min(first + _LOT, count)), chunksize=8)
                yield from made
        except BrokenProcessPool:
            raise StairError("a worker process died", hint="too little memory? fewer --workers") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _leave_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _check_same(folder: Path, config: CollectConfig) -> None:
    try:
        made_by = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        raise UsageError(
            f"{folder} exists and was not written by stair.collect", hint="choose another --root"
        ) from None
    wanted = settings_of(config)
    differing = [name for name in wanted if made_by.get(name) != wanted[name]]
    if differing:
        name = differing[0]
        raise UsageError(
            f"{folder} was made with {name} {made_by.get(name)}; now {name} {wanted[name]} is asked for",
            hint=f"choose another --root, or remove {folder}",
        )


def _write_record(path: Path, config: CollectConfig) -> None:
    try:
        path.write_text(json.dumps(settings_of(config), indent=2) + "\n")
    except OSError as error:
        raise StairError(f"cannot write {path}: {error.strerror}", hint="is the disk full?") from None
