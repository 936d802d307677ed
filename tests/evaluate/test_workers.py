"""A simulator process may die; the evaluation does not."""

import os

import pytest

from stair.errors import StairError
from stair.evaluate import workers
from stair.evaluate.config import EvalConfig
from stair.evaluate.workers import Order, Worksite, run_orders
from stair.sim.contract import GridPoint
from tests.fakes.scripted_server import ScriptedPolicy
from tests.fakes.serving import serving


class Suicidal:
    """Stands in for a process's work: dies where a graphics driver might."""

    def __init__(self, at):
        self.at = at

    def __call__(self, site, pipe):
        if self.at == "start":
            os._exit(7)
        pipe.send("ready")
        while (order := pipe.recv()) is not None:
            if order.point.episode_id == self.at:
                os._exit(11)
            pipe.send(workers._blank(order.point, site))


def run(work, monkeypatch, *, count=4, processes=2):
    monkeypatch.setattr(workers, "_work", work)
    records = []
    orders = [Order(GridPoint("tabletop_put_block", number), False) for number in range(count)]
    site = Worksite("ws://127.0.0.1:9", EvalConfig(), "p")
    run_orders(orders, site, processes, records.append)
    return {record.episode_id: record.error for record in records}


def test_a_process_that_dies_costs_its_episode_and_another_takes_its_place(monkeypatch):
    errors = run(Suicidal(1), monkeypatch, processes=1)
    assert errors == {0: "", 1: "the simulator process died (exit code 11)", 2: "", 3: ""}


def test_a_process_that_dies_while_starting_ends_the_evaluation(monkeypatch):
    with pytest.raises(StairError, match=r"died while starting \(exit code 7\)"):
        run(Suicidal("start"), monkeypatch)


def test_no_more_processes_are_started_than_there_are_episodes(monkeypatch):
    started = []
    original = workers._start
    monkeypatch.setattr(workers, "_start", lambda site: started.append(original(site)) or started[-1])
    run(Suicidal(None), monkeypatch, count=2, processes=8)
    assert len(started) == 2
    assert not any(worker.process.is_alive() for worker in started)


def test_no_process_outlives_an_interrupted_evaluation(monkeypatch):
    started = []
    original = workers._start
    monkeypatch.setattr(workers, "_start", lambda site: started.append(original(site)) or started[-1])

    def interrupt(record):
        raise KeyboardInterrupt

    orders = [Order(GridPoint("tabletop_put_block", number), False) for number in range(6)]
    with serving(ScriptedPolicy()) as address:
        site = Worksite(address, EvalConfig(), "scripted")
        with pytest.raises(KeyboardInterrupt):
            run_orders(orders, site, 2, interrupt)
    assert started
    assert not any(worker.process.is_alive() for worker in started)
