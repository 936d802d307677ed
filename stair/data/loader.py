"""The batches of one process, in order, made ahead of time by worker processes.

Takes a Corpus and this process's place among all, hands on a Batch per step. Step s of a run consists of
positions s*G ... s*G + G - 1 of which each rank takes its contiguous share, so any number of processes
sees the same global batches and a resumed run simply starts at another step.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from stair.data.corpus import Corpus
from stair.data.sample import Batch
from stair.errors import StairError, UsageError
from stair.interrupts import born_deaf

__all__ = ["Corpus", "Loader"]

AHEAD = 4
"""Batches that each worker may have ready."""
NOT_THEIRS = (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that workers never answer."""
LOOK_S = 1.0
"""How often a worker looks whether its parent still lives."""


class Loader:
    """Iterates Batches for step = start_step, start_step + 1, ... without end.

    `waited_s` is the time the caller has spent waiting for batches, in seconds, over all of them.
    """

    def __init__(
        self,
        corpus: Corpus,
        batch_size_local: int,
        rank: int = 0,
        world: int = 1,
        start_step: int = 0,
        global_batch: int | None = None,
        workers: int = 0,
        with_clips: bool = True,
    ) -> None:
        global_batch = batch_size_local * world if global_batch is None else global_batch
        if batch_size_local < 1 or batch_size_local * world != global_batch:
            raise UsageError(
                f"a batch of {global_batch} does not split into {world} x {batch_size_local}",
                hint="data.batch_size must be a multiple of the number of processes",
            )
        self.corpus, self.workers, self.start_step = corpus, workers, start_step
        self.steps = _Steps(corpus, batch_size_local, rank, global_batch, with_clips)
        self.waited_s = 0.0

    def __iter__(self) -> Iterator[Batch]:
        source = self._source()
        try:
            while True:
                asked = time.perf_counter()
                made = next(source)
                self.waited_s += time.perf_counter() - asked
                if isinstance(made, _Failure):
                    raise StairError(made.what, hint=made.hint)
                yield made
        except (RuntimeError, EOFError, ConnectionError) as error:
            # The latter two: it died while a batch of its was being fetched.
            if isinstance(error, RuntimeError) and not tells_of_a_dead_reader(error):
                raise
            raise dead_reader(error) from None
        finally:
            del source  # ends the workers even while somebody keeps the error's traceback

    def _source(self) -> Iterator[Batch | _Failure]:
        if self.corpus.data.reader == "tf":
            from stair.data.tf_reader import tf_batches

            return tf_batches(
                self.corpus, self.steps.size, self.steps.rank, self.start_step, self.steps.with_clips
            )
        if self.workers:
            return self._in_workers()
        return map(self.steps.__getitem__, _From(self.start_step))

    def _in_workers(self) -> Iterator[Batch | _Failure]:
        loader = DataLoader(
            self.steps,
            batch_size=None,
            sampler=_From(self.start_step),
            num_workers=self.workers,
            collate_fn=_pack,
            prefetch_factor=AHEAD,
            worker_init_fn=partial(_leave_signals_to_parent, os.getpid()),
            multiprocessing_context="fork",  # shares the index; spawning would copy it
        )
        # A signal before they know what to do with it would be their end, and the end of the training.
        with born_deaf(*NOT_THEIRS, signal.SIGTERM):
            batches = iter(loader)
        return map(_unpack, batches)


class _Steps(Dataset):
    """This process's batch of any step."""

    def __init__(self, corpus: Corpus, size: int, rank: int, global_batch: int, with_clips: bool) -> None:
        self.corpus, self.size, self.rank = corpus, size, rank
        self.global_batch, self.with_clips = global_batch, with_clips

    def __getitem__(self, step: int) -> Batch | _Failure:
        first = step * self.global_batch + self.rank * self.size
        try:
            return self.corpus.batch(np.arange(first, first + self.size), with_clips=self.with_clips)
        except StairError as error:
            # As a value: raised in a worker it would arrive wrapped in that worker's traceback.
            return _Failure(error.what, error.hint)


class _Failure:
    """An expected failure on its way out of a worker."""

    def __init__(self, what: str, hint: str) -> None:
        self.what, self.hint = what, hint


class _From(Sampler[int]):
    """All steps from a first one on."""

    def __init__(self, first: int) -> None:
        self.first = first

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.first)


def _pack(batch: Any) -> Any:
    """A batch as it leaves a worker. Every tensor costs a shared memory file, at small batches more than
    its content; so only pictures travel that way, and the rest in the message."""
    if isinstance(batch, _Failure):
        return batch
    rest = {
        name: value.numpy()
        for name, value in vars(batch).items()
        if name not in ("images", "clips") and value is not None
    }
    return batch.images, batch.clips, rest


def _unpack(packed: Any) -> Batch | _Failure:
    if isinstance(packed, _Failure):
        return packed
    images, clips, rest = packed
    return Batch(images=images, clips=clips, **{name: torch.from_numpy(v) for name, v in rest.items()})


def tells_of_a_dead_reader(error: BaseException) -> bool:
    """Whether torch says by this error that a reader process died. It does so from a signal handler, so that
    the error may come up anywhere and not only where a batch is awaited."""
    return isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker")


def dead_reader(error: BaseException) -> StairError:
    """The same for people."""
    return StairError(
        f"a reader process died: {(str(error) or type(error).__name__).splitlines()[0]}",
        hint="out of memory, or of shared memory (/dev/shm)? fewer data.workers",
    )


def _leave_signals_to_parent(parent: int, worker: int) -> None:
    """Slurm signals every process of a job; the trainer answers by saving, and needs its workers until
    it has. So they heed SIGTERM from their parent only, and within seconds end when it is gone."""
    for number in NOT_THEIRS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGTERM})
    threading.Thread(target=_heed_parent, args=(parent,), daemon=True).start()


def _heed_parent(parent: int) -> None:
    # torch's own look is not enough: a worker may be waiting for room in a pipe that nobody reads any more.
    while os.getppid() == parent:
        heard = signal.sigtimedwait({signal.SIGTERM}, LOOK_S)
        if heard is not None and heard.si_pid == parent:
            break
    os._exit(0)
