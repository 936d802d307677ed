"""The requests of many clients become batches for one model.

Takes queries one by one, hands each its chunk. A batch runs when it is as large as is good for these
clients, when waiting for the next one does not pay (pace.py), or, of clients that are new, after a fixed
wait: few clients are one batch, many are led into groups that take turns with the model. The model runs in
a single thread of its own, so that the event loop keeps answering meanwhile. Used from one event loop only.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stair.policy.contract import PolicySpec, Query
from stair.serve.pace import Pace


class BatchPolicy(Protocol):
    """A policy in this process, as the server sees it."""

    spec: PolicySpec

    def act_batch(self, queries: list[Query]) -> np.ndarray:
        """Physical chunks, float32 [n, K, 7]. An answer must not depend on its neighbours."""
        ...


@dataclass(frozen=True)
class Answer:
    """One query's chunk, and how it was made."""

    actions: np.ndarray
    """float32 [K, 7]"""
    server_ms: float
    """Time in the model."""
    batch: int
    """How many queries the model saw at once."""


@dataclass
class _Waiting:
    client: Hashable
    query: Query
    since: float
    answer: asyncio.Future[Answer]


class Batcher:
    """Gathers queries and runs the policy on them, from `run` on."""

    def __init__(self, policy: BatchPolicy, max_batch: int, max_wait_ms: float) -> None:
        self.policy, self.max_batch, self.max_wait_s = policy, max(1, max_batch), max_wait_ms / 1000
        self.clients = 0
        self._pace = Pace()
        self._waiting: deque[_Waiting] = deque()
        self._open, self._idle = False, True
        """Whether `run` has begun; whether the model could."""
        self._timer: asyncio.TimerHandle | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="policy")

    def join(self) -> None:
        """Counts a client in."""
        self.clients += 1
        self._consider()

    def leave(self, client: Hashable = None) -> None:
        """Counts a client out: those who wait for it need not any more."""
        self.clients -= 1
        self._pace.left(client)
        self._consider()

    async def ask(self, query: Query, client: Hashable = None) -> Answer:
        """The answer to one query; raises what the policy raised. The rhythm of a `client` that is named is
        learnt."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(client, query, loop.time(), loop.create_future())
        self._waiting.append(waiting)
        self._pace.asked(client, waiting.since)
        self._consider()
        return await waiting.answer

    async def run(self) -> None:
        """Answers until cancelled."""
        self._open = True
        self._consider()
        try:
            await asyncio.Event().wait()
        finally:
            self._open = False
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _consider(self) -> None:
        """Begins a batch, or sees to it that this is considered again in time. Everything that could change
        the answer calls it; no task stands between a query and the model."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        while self._waiting and self._waiting[0].answer.done():  # its client left
            self._waiting.popleft()
        if not (self._open and self._idle and self._waiting):
            return
        loop = asyncio.get_running_loop()
        wait_s = self._wait_s(loop.time())
        if wait_s > 0:
            self._timer = loop.call_later(wait_s, self._consider)
            return
        self._idle = False
        batch = self._take()
        started = time.perf_counter()
        working = self._thread.submit(self.policy.act_batch, [waiting.query for waiting in batch])

        def finish() -> None:
            self._finish(batch, working, time.perf_counter() - started)

        def tell(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed before the model had finished
                loop.call_soon_threadsafe(finish)

        working.add_done_callback(tell)

    def _wait_s(self, now: float) -> float:
        """How long those who wait should go on waiting for company."""
        if len(self._waiting) >= min(self.max_batch, self._good_batch()):
            return 0.0
        worth_s = self._pace.worth_waiting_s(len(self._waiting), self.clients, now)
        return self._waiting[0].since + self.max_wait_s - now if worth_s is None else worth_s

    def _good_batch(self) -> int:
        return max(1, self._pace.good_batch(self.clients))

    def _take(self) -> list[_Waiting]:
        good, there = self._good_batch(), len(self._waiting)
        # A few too many ride along; half as many again are another batch.
        size = min(self.max_batch, there if there < 1.5 * good else good)
        batch = [self._waiting.popleft() for _ in range(size)]
        return [waiting for waiting in batch if not waiting.answer.done()]

    def _finish(self, batch: list[_Waiting], working: Future[np.ndarray], took_s: float) -> None:
        if working.cancelled():
            return  # `run` was
        error = working.exception()
        chunks = None if error else working.result()
        if chunks is not None and len(chunks) != len(batch):
            error = RuntimeError(f"the policy gave {len(chunks)} chunks for {len(batch)} queries")
        if not error:
            self._pace.ran(len(batch), took_s)
        now = asyncio.get_running_loop().time()
        for place, waiting in enumerate(batch):
            if waiting.answer.done():
                continue  # its client left
            self._pace.answered(waiting.client, now)
            if error or chunks is None:
                waiting.answer.set_exception(error or RuntimeError("no answer"))
            else:
                waiting.answer.set_result(Answer(chunks[place], 1000 * took_s, len(batch)))
        self._idle = True
        self._consider()
