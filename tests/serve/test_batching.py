"""When a batch runs: full, waited long enough, or everybody is there."""

import asyncio
import threading
import time

import numpy as np
import pytest

from stair.policy.contract import Query
from stair.serve.batching import Batcher
from tests.fakes.scripted_server import ScriptedPolicy, scripted_chunk

LONG_MS = 120_000.0
"""Longer than any machine stands still."""


def query(seed):
    return Query(np.zeros((2, 2, 3), np.uint8), "go", "tabletop", seed)


def ask_all(policy, count, *, clients, max_batch=32, max_wait_ms=LONG_MS):
    """Asks `count` queries at once with `clients` connected; answers, and how long it took."""

    async def work():
        batcher = Batcher(policy, max_batch, max_wait_ms)
        for _ in range(clients):
            batcher.join()
        running = asyncio.create_task(batcher.run())
        started = time.perf_counter()
        answers = await asyncio.gather(*(batcher.ask(query(seed)) for seed in range(count)))
        took_s = time.perf_counter() - started
        running.cancel()
        return answers, took_s

    return asyncio.run(work())


def test_nobody_waits_when_every_client_is_waiting():
    policy = ScriptedPolicy()
    answers, took_s = ask_all(policy, 4, clients=4)
    assert policy.batches == [4]
    assert took_s < LONG_MS / 2000
    assert [answer.batch for answer in answers] == [4] * 4


def test_a_missing_client_is_waited_for_but_not_longer_than_told():
    policy = ScriptedPolicy()
    _, took_s = ask_all(policy, 3, clients=4, max_wait_ms=150)
    assert policy.batches == [3]
    assert 0.14 < took_s < LONG_MS / 2000


def test_a_full_batch_does_not_wait():
    policy = ScriptedPolicy()
    _, took_s = ask_all(policy, 6, clients=7, max_batch=3)
    assert policy.batches == [3, 3]
    assert took_s < LONG_MS / 2000


def test_a_client_that_leaves_is_not_waited_for():
    policy = ScriptedPolicy()

    async def work():
        batcher = Batcher(policy, 32, LONG_MS)
        batcher.join()
        batcher.join()
        running = asyncio.create_task(batcher.run())
        asking = asyncio.create_task(batcher.ask(query(1)))
        await asyncio.sleep(0.05)
        assert not asking.done()
        batcher.leave()
        await asyncio.wait_for(asking, LONG_MS / 2000)
        running.cancel()

    asyncio.run(work())
    assert policy.batches == [1]


def test_every_query_gets_its_own_answer():
    answers, _ = ask_all(ScriptedPolicy(), 9, clients=9, max_batch=4, max_wait_ms=20)
    for seed, answer in enumerate(answers):
        assert np.array_equal(answer.actions, scripted_chunk(query(seed)))


def test_a_policy_that_breaks_fails_its_batch_and_answers_the_next():
    class Sometimes(ScriptedPolicy):
        def act_batch(self, queries):
            if queries[0].seed == 0:
                raise RuntimeError("broke")
            return super().act_batch(queries)

    async def work():
        batcher = Batcher(Sometimes(), 1, 0)
        batcher.join()
        running = asyncio.create_task(batcher.run())
        with pytest.raises(RuntimeError, match="broke"):
            await batcher.ask(query(0))
        answer = await batcher.ask(query(1))
        running.cancel()
        return answer

    assert np.array_equal(asyncio.run(work()).actions, scripted_chunk(query(1)))


def test_the_model_runs_in_one_thread_that_is_not_the_event_loops():
    seen = set()

    class Watched(ScriptedPolicy):
        def act_batch(self, queries):
            seen.add(threading.get_ident())
            return super().act_batch(queries)

    ask_all(Watched(), 6, clients=6, max_batch=2)
    assert len(seen) == 1
    assert threading.get_ident() not in seen
