"""A simulator process may die, hang or break; the evaluation does not, and no episode is lost."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from stair.errors import StairError
from stair.evaluate import workers
from stair.evaluate.config import EvalConfig
from stair.evaluate.orders import HOPELESS
from stair.evaluate.simulating import Lost, Played, Ready, Refusal, blank
from stair.evaluate.workers import Order, Worksite, last_words, run_orders
from stair.sim.contract import GridPoint
from tests.fakes.scripted_server import ScriptedPolicy
from tests.fakes.serving import serving, start_process

TASK = "tabletop_put_block"


class Doomed:
    """Stands in for a process's work: suffers what `fate` says, the first `times` times."""

    def __init__(self, folder, fate="", at=None, times=10**6):
        self.folder, self.fate, self.at, self.times = folder, fate, at, times

    def __call__(self, site, pipe, log, samples):
        (self.folder / f"start-{os.getpid()}").touch()
        if self.at == "start":
            self.suffer(pipe, log)
        pipe.send(Ready())
        while (order := pipe.recv()) is not None:
            with (self.folder / "played").open("a") as file:
                file.write(f"{os.getpid()} {order.point.task} {order.point.episode_id}\n")
            if order.point.episode_id == self.at and self.suffer(pipe, log):
                continue
            pipe.send(Played(blank(order, site)))

    def suffer(self, pipe, log):
        mark = self.folder / "suffered"
        before = len(mark.read_text()) if mark.exists() else 0
        if before >= self.times:
            return False
        mark.write_text("x" * (before + 1))
        with log.open("a") as file:
            file.write("hello\nout of luck\n")
        match self.fate:
            case "exit":
                os._exit(7)
            case "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hang":
                time.sleep(600)
            case "broken":
                pipe.send(Lost("device lost", fit=False))
            case "refusal":
                pipe.send(Refusal(StairError, "no", "mend it"))
        return True


@pytest.fixture
def run(tmp_path, monkeypatch):
    def run(doomed, *, count=4, processes=1, **settings):
        monkeypatch.setattr(workers, "work", doomed)
        records = []
        orders = [Order(GridPoint(TASK, 100000 + number), False) for number in range(count)]
        config = EvalConfig(run=str(tmp_path / "run"), **settings)
        run_orders(orders, Worksite("ws://127.0.0.1:9", config, "p"), processes, records.append)
        return {record.episode_id - 100000: record for record in records if records.count(record) == 1}

    return run


def starts(folder):
    return len(list(folder.glob("start-*")))


@pytest.mark.parametrize(
    ("fate", "words"),
    [
        ("exit", "the simulator process: died (exit code 7): out of luck"),
        ("segfault", "the simulator process: killed by SIGSEGV: out of luck"),
        ("hang", "the simulator process: no end within 3 s, so it was ended"),
        ("broken", "device lost"),
    ],
)
def test_an_episode_that_is_lost_is_played_again_on_a_fresh_process(run, tmp_path, fate, words):
    records = run(Doomed(tmp_path, fate, 100001, times=1), episode_timeout_s=3)
    assert [records[number].error for number in range(4)] == [""] * 4
    assert (records[1].attempts, records[1].faults) == (2, (words,))
    assert {(records[n].attempts, records[n].faults) for n in (0, 2, 3)} == {(1, ())}
    assert starts(tmp_path) == 2


def test_an_episode_that_is_always_lost_is_an_error_with_all_that_happened(run, tmp_path):
    records = run(Doomed(tmp_path, "exit", 100001), retries=1, processes=2)
    fault = "the simulator process: died (exit code 7): out of luck"
    assert records[1].error == f"{fault} (2 attempts)"
    assert (records[1].attempts, records[1].faults) == (2, (fault, fault))
    assert [records[number].error for number in (0, 2, 3)] == [""] * 3


def test_a_process_that_dies_while_starting_is_started_again(run, tmp_path):
    assert len(run(Doomed(tmp_path, "exit", "start", times=2))) == 4
    assert starts(tmp_path) == 3


def test_an_evaluation_whose_processes_never_start_ends_with_their_last_words(run, tmp_path):
    with pytest.raises(StairError, match=r"3 .* died while starting, the last: .*code 7\): out of luck") as e:
        run(Doomed(tmp_path, "exit", "start"))
    assert str(tmp_path / "run" / "logs" / "simulators") in e.value.hint


def test_a_process_that_hangs_while_starting_is_ended(run, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "START_S", 1.0)
    with pytest.raises(StairError, match="died while starting, the last: no end within 1 s"):
        run(Doomed(tmp_path, "hang", "start"), retries=0)


def test_a_refusal_ends_it_all(run, tmp_path):
    with pytest.raises(StairError, match="no"):
        run(Doomed(tmp_path, "refusal", 100001))


def test_a_process_is_replaced_after_as_many_episodes_as_told(run, tmp_path):
    assert len(run(Doomed(tmp_path), count=5, recycle=2)) == 5
    assert starts(tmp_path) == 3
    players = [line.split()[0] for line in (tmp_path / "played").read_text().splitlines()]
    assert [players.count(one) for one in dict.fromkeys(players)] == [2, 2, 1]


def test_a_simulator_that_is_known_to_leak_is_recycled_by_itself(run, tmp_path, monkeypatch):
    monkeypatch.setitem(workers.EPISODES_A_PROCESS, "tabletop", 2)
    run(Doomed(tmp_path), count=4)
    assert starts(tmp_path) == 2


def test_no_more_processes_are_started_than_there_are_episodes(run, tmp_path):
    run(Doomed(tmp_path), count=2, processes=8)
    assert starts(tmp_path) == 2


class Choosy:
    """Fails all episodes of one task."""

    def __call__(self, site, pipe, log, samples):
        pipe.send(Ready())
        while (order := pipe.recv()) is not None:
            error = "no mesh" if order.point.task == "widowx_stack_cube" else ""
            pipe.send(Played(replace(blank(order, site), error=error)))


def test_a_task_without_hope_does_not_stop_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "work", Choosy())
    tasks = ("widowx_stack_cube", "widowx_carrot_on_plate")
    orders = [Order(GridPoint(task, n), False) for task in tasks for n in range(12)]
    config = EvalConfig(run=str(tmp_path), simulator="simpler", tasks=tasks)
    records = []
    with pytest.raises(StairError, match=f"widowx_stack_cube: the first {HOPELESS} episodes all ended in"):
        run_orders(orders, Worksite("ws://127.0.0.1:9", config, "p"), 1, records.append)
    ended = [(record.task, bool(record.error)) for record in records]
    assert ended.count((tasks[0], True)) == HOPELESS
    assert ended.count((tasks[1], False)) == 12


def test_no_process_outlives_an_interrupted_evaluation(tmp_path, monkeypatch):
    crews = []
    original = workers._Crew.start
    monkeypatch.setattr(workers._Crew, "start", lambda crew, n: crews.append(crew) or original(crew, n))

    def interrupt(record):
        raise KeyboardInterrupt

    orders = [Order(GridPoint(TASK, number), False) for number in range(6)]
    with serving(ScriptedPolicy()) as address:
        site = Worksite(address, EvalConfig(run=str(tmp_path)), "scripted")
        with pytest.raises(KeyboardInterrupt):
            run_orders(orders, site, 2, interrupt)
    assert len(crews[0].pool) == 2
    assert not any(worker.process.is_alive() for worker in crews[0].pool)


def play(address, tmp_path, count=3, **settings):
    orders = [Order(GridPoint(TASK, 100000 + number), False) for number in range(count)]
    config = EvalConfig(policy=address, run=str(tmp_path), control="chunk", execute=16, **settings)
    records = []
    run_orders(orders, Worksite(address, config, "scripted"), 1, records.append)
    return records


def test_a_record_says_where_the_time_went_and_what_the_simulator_told(tmp_path):
    with serving(ScriptedPolicy(delay_s=0.05)) as address:
        (record,) = play(address, tmp_path, 1, max_steps=20, camera=32)
    assert record.steps == 20
    assert record.queries == 2
    assert 0.1 < record.times_s["policy"] < record.wall_s
    rounding = 0.002
    assert 0 < record.times_s["simulator"] <= record.wall_s - record.times_s["policy"] + rounding
    assert record.info.keys() == record.info_ever.keys() == {"grasped", "held"}


def test_what_a_process_prints_is_in_its_log_and_not_in_the_console(tmp_path, capfd):
    class Spoiled(ScriptedPolicy):
        def act_batch(self, queries):
            return super().act_batch(queries) * float("nan")

    with serving(Spoiled()) as address:
        (record,) = play(address, tmp_path, 1, pitfalls="say")
    assert "seven finite numbers" in record.error
    assert record.attempts == 1  # it would come to the same end again
    assert (tmp_path / "logs/simulators/0.log").exists()
    assert "Warning" not in capfd.readouterr().err


def test_a_server_given_by_its_address_may_come_back(tmp_path):
    address = tmp_path / "address"
    server = start_process(address, "--delay_ms", "150")
    where = address.read_text().strip()
    restarted = []

    def on_record(record):
        if not restarted:
            server.kill()
            server.wait()
            restarted.append(start_process(tmp_path / "again", "--port", where.rpartition(":")[2]))
        records.append(record)

    records = []
    orders = [Order(GridPoint(TASK, 100000 + number), False) for number in range(3)]
    config = EvalConfig(policy=where, run=str(tmp_path), control="chunk", execute=16, patience_s=30)
    try:
        run_orders(orders, Worksite(where, config, "scripted"), 1, on_record)
    finally:
        for one in (server, *restarted):
            one.kill()
            one.communicate()
    assert [(one.error, one.attempts) for one in records] == [("", 1), ("", 1), ("", 2)]
    assert [one.episode_id for one in records] == [100000, 100002, 100001]
    assert "is gone" in records[2].faults[0]


def test_a_server_that_stays_away_ends_it_all(tmp_path):
    server = start_process(tmp_path / "address", "--delay_ms", "150")
    address = (tmp_path / "address").read_text().strip()
    config = EvalConfig(policy=address, run=str(tmp_path), control="chunk", execute=16, patience_s=1)
    orders = [Order(GridPoint(TASK, 100000 + number), False) for number in range(3)]

    def on_record(record):
        server.kill()
        server.communicate()

    with pytest.raises(StairError, match="is gone"):
        run_orders(orders, Worksite(address, config, "scripted"), 1, on_record)


def test_last_words_name_a_crash_or_are_the_last_line(tmp_path):
    log = tmp_path / "log"
    assert last_words(log, 0) == ""
    log.write_text("first\nsecond\n\n")
    assert last_words(log, 0) == "second"
    log.write_text("first\nFatal Python error: Segmentation fault\n\nstack\nExtension modules: x\n")
    assert last_words(log, 6) == "Fatal Python error: Segmentation fault"
    assert last_words(Path("/nowhere"), 0) == ""
