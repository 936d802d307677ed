"""The requests of many clients become batches for one model.

Takes queries one by one, hands each its chunk. A batch runs when it is full, when its first query has
waited long enough, or when every connected client already waits in it: with four simulators the fourth
request starts the model at once. The model runs in a single thread of its own, so that the event loop
keeps answering meanwhile. Used from one event loop only.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stair.policy.contract import PolicySpec, Query


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
    query: Query
    since: float
    answer: asyncio.Future[Answer]


class Batcher:
    """Gathers queries and runs the policy on them; `run` is its loop."""

    def __init__(self, policy: BatchPolicy, max_batch: int, max_wait_ms: float) -> None:
        self.policy, self.max_batch, self.max_wait_s = policy, max(1, max_batch), max_wait_ms / 1000
        self.clients = 0
        self._waiting: deque[_Waiting] = deque()
        self._changed = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="policy")

    def join(self) -> None:
        """Counts a client in."""
        self.clients += 1
        self._changed.set()

    def leave(self) -> None:
        """Counts a client out: those who wait for it need not any more."""
        self.clients -= 1
        self._changed.set()

    async def ask(self, query: Query) -> Answer:
        """The answer to one query; raises what the policy raised."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(query, loop.time(), loop.create_future())
        self._waiting.append(waiting)
        self._changed.set()
        return await waiting.answer

    async def run(self) -> None:
        """Answers until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                batch = await self._gather()
                if batch:
                    await self._answer(loop, batch)
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def _gather(self) -> list[_Waiting]:
        while not self._waiting:
            self._changed.clear()
            await self._changed.wait()
        deadline = self._waiting[0].since + self.max_wait_s
        while len(self._waiting) < min(self.max_batch, self.clients):
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                break
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except asyncio.TimeoutError:  # no alias of the built-in one before Python 3.11
                break
        batch = [self._waiting.popleft() for _ in range(min(self.max_batch, len(self._waiting)))]
        return [waiting for waiting in batch if not waiting.answer.cancelled()]  # its client left

    async def _answer(self, loop: asyncio.AbstractEventLoop, batch: list[_Waiting]) -> None:
        queries = [waiting.query for waiting in batch]
        started = time.perf_counter()
        try:
            chunks = await loop.run_in_executor(self._thread, self.policy.act_batch, queries)
            if len(chunks) != len(batch):
                raise RuntimeError(f"the policy gave {len(chunks)} chunks for {len(batch)} queries")
        except Exception as error:
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
            return
        took_ms = 1000 * (time.perf_counter() - started)
        for waiting, chunk in zip(batch, chunks, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(Answer(chunk, took_ms, len(batch)))
