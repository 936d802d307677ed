"""A simulator process may die, hang or break; the evaluation does not, and no episode is lost."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest

from stair.errors import StairError
from stair.evaluate import simulating, workers
from stair.evaluate.config import EvalConfig
from stair.evaluate.orders import HOPELESS
from stair.evaluate.simulating import Lost, Played, Ready, Refusal, blank, join
from stair.evaluate.workers import Order, Worksite, last_words, run_orders
from stair.policy.remote import ServerGone
from stair.sim.contract import GridPoint
from tests.fakes.scripted_server import ScriptedPolicy
from tests.fakes.serving import LONG_S, kept_port, serving, start_process

TASK = "tabletop_put_block"
ROOT = Path(__file__).parents[2]


class Doomed:
    """Stands in for a process's work: suffers what `fate` says, the first `times` times."""

    def __init__(self, folder, fate="", at=None, times=10**6):
        self.folder, self.fate, self.at, self.times = folder, fate, at, times

    def __call__(self, site, pipe, log, samples):
        me = uuid4().hex
        before = starts(self.folder)
        (self.folder / f"start-{me}").touch()
        if self.at == "start" and before < self.times:
            self.suffer(pipe, log)
        pipe.send(Ready())
        while (order := pipe.recv()) is not None:
            with (self.folder / "played").open("a") as file:
                file.write(f"{me} {order.point.task} {order.point.episode_id}\n")
            if self.dooms(order):
                self.suffer(pipe, log)
            else:
                pipe.send(Played(blank(order, site)))

    def dooms(self, order):
        return order.point.episode_id == self.at and len(order.faults) < self.times

    def suffer(self, pipe, log):
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
def test_an_episode_that_is_lost_is_played_again_on_a_fresh_process(run, tmp_path, monkeypatch, fate, words):
    doomed = Doomed(tmp_path, fate, 100001, times=1)
    original = workers._Crew._limit_s

    def limit_s(crew, worker):  # who only stands still for a while on a full machine is not taken for hung
        hangs = fate == "hang" and worker.order and doomed.dooms(worker.order)
        return original(crew, worker) if hangs else workers.START_S

    monkeypatch.setattr(workers._Crew, "_limit_s", limit_s)
    records = run(doomed, episode_timeout_s=3)
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


def test_what_a_process_says_before_anybody_looks_is_heard(run, tmp_path, monkeypatch):
    def start(process):  # and then this process stands still until that one is dead
        BaseProcess.start(process)
        process.join()

    monkeypatch.setattr(SpawnProcess, "start", start)
    with pytest.raises(StairError, match=r"2 .* died while starting, the last: .*code 7\): out of luck"):
        run(Doomed(tmp_path, "exit", "start"), retries=1)


class Struck(Doomed):
    """Ctrl-C comes while its interpreter is still busy with itself."""

    def __setstate__(self, state):
        self.__dict__.update(state)
        os.kill(os.getpid(), signal.SIGINT)


def test_a_process_does_not_hear_ctrl_c_even_before_its_first_line(run, tmp_path, heard_interrupts):
    assert len(run(Struck(tmp_path))) == 4
    assert starts(tmp_path) == 1
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_ctrl_c_while_a_process_is_started_ends_that_one_too(run, tmp_path, monkeypatch, heard_interrupts):
    started = []

    def start(process):
        BaseProcess.start(process)
        started.append(process)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(SpawnProcess, "start", start)
    with pytest.raises(KeyboardInterrupt):
        run(Doomed(tmp_path), processes=2)
    assert [process.is_alive() for process in started] == [False]


def test_a_refusal_ends_it_all(run, tmp_path):
    with pytest.raises(StairError, match="no"):
        run(Doomed(tmp_path, "refusal", 100001))


class Orphan:
    """A process that comes to its first line when its parent is gone, and would then hang."""

    def __init__(self, folder, parent):
        self.folder, self.parent = folder, parent

    def __setstate__(self, state):
        self.__dict__.update(state)
        while os.getppid() == self.parent:
            time.sleep(0.01)

    def __call__(self, pipe):
        simulating.join = self.hang
        simulating.work(Worksite("ws://h:1", EvalConfig(), "p"), pipe, self.folder / "log", ())

    def hang(self, site):
        (self.folder / "hangs").touch()
        time.sleep(600)


def test_a_process_whose_parent_died_before_its_first_line_ends(tmp_path):
    code = (
        "import multiprocessing, os, pathlib, sys; from tests.evaluate.test_workers import Orphan\n"
        "context = multiprocessing.get_context('spawn'); ours, theirs = context.Pipe()\n"
        "orphan = Orphan(pathlib.Path(sys.argv[1]), os.getpid())\n"
        "context.Process(target=orphan, args=(theirs,)).start(); os._exit(0)"
    )
    # Its output ends when the last of them does.
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=LONG_S
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(tmp_path.iterdir())


class Together:
    """While the record of place 0 is written, place 1 refuses to go on and place 2 has played to the end."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, site, pipe, log, samples):
        pipe.send(Ready())
        order, me = pipe.recv(), log.stem
        (self.folder / f"has-{me}").touch()
        if me == "0":
            self.wait_for("has-1", "has-2")
        else:
            self.wait_for("busy")
        pipe.send(Refusal(StairError, "no", "mend it") if me == "1" else Played(blank(order, site)))
        (self.folder / f"said-{me}").touch()
        with suppress(EOFError):
            pipe.recv()

    def wait_for(self, *marks):
        deadline = time.monotonic() + LONG_S
        while not all((self.folder / mark).exists() for mark in marks):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_what_others_have_finished_when_one_refuses_is_on_record(tmp_path, monkeypatch):
    together, records = Together(tmp_path), []
    monkeypatch.setattr(workers, "work", together)

    def on_record(record):
        records.append(record)
        if len(records) == 1:
            (tmp_path / "busy").touch()
            together.wait_for("said-1", "said-2")

    orders = [Order(GridPoint(TASK, number), False) for number in range(3)]
    site = Worksite("ws://127.0.0.1:9", EvalConfig(run=str(tmp_path / "run")), "p")
    with pytest.raises(StairError, match="no"):
        run_orders(orders, site, 3, on_record)
    assert len({record.key for record in records}) == 2


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
    assert 0.1 <= record.times_s["policy"] < record.wall_s
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


@pytest.fixture
def port():
    with kept_port() as port:
        yield port


def test_a_server_given_by_its_address_may_come_back(tmp_path, port):
    where = f"ws://127.0.0.1:{port}"
    servers = [start_process(tmp_path / "address", "--port", str(port))]

    def on_record(record):
        if len(servers) == 1:
            servers[0].kill()
            servers[0].wait()
            servers.append(start_process(tmp_path / "again", "--port", str(port)))
        records.append(record)

    records = []
    orders = [Order(GridPoint(TASK, 100000 + number), False) for number in range(3)]
    config = EvalConfig(policy=where, run=str(tmp_path), control="chunk", execute=16, patience_s=LONG_S)
    try:
        run_orders(orders, Worksite(where, config, "scripted"), 1, on_record)
    finally:
        for one in servers:
            one.kill()
            one.communicate()
    assert [(one.error, one.attempts) for one in records] == [("", 1), ("", 1), ("", 2)]
    assert [one.episode_id for one in records] == [100000, 100002, 100001]
    assert "is gone" in records[2].faults[0]


def test_a_server_that_stays_away_ends_it_all(tmp_path, port):
    address = f"ws://127.0.0.1:{port}"
    server = start_process(tmp_path / "address", "--port", str(port))
    config = EvalConfig(policy=address, run=str(tmp_path), control="chunk", execute=16, patience_s=1)
    orders = [Order(GridPoint(TASK, 100000 + number), False) for number in range(3)]

    def on_record(record):
        server.kill()

    try:
        with pytest.raises(StairError, match="is gone"):
            run_orders(orders, Worksite(address, config, "scripted"), 1, on_record)
    finally:
        server.kill()
        server.communicate()


AWAY = ServerGone("no policy server answers at ws://h:1 (connection refused)", why="connection refused")


@pytest.fixture
def arrive(monkeypatch):
    """Has a process join an evaluation of the policy `p`, whose server does one thing after the other."""

    def arrive(*deeds, policy="ws://h:1"):
        left = list(deeds)

        def connect(address, config):
            if isinstance(left[0], str):
                return SimpleNamespace(spec=SimpleNamespace(name=left.pop(0)), close=lambda: None)
            raise left.pop(0)

        monkeypatch.setattr(simulating, "connect", connect)
        return join(Worksite("ws://h:1", EvalConfig(policy=policy, patience_s=LONG_S), "p"))

    return arrive


def test_a_process_that_comes_while_the_server_is_away_waits_for_it_too(arrive):
    assert arrive(AWAY, "p").spec.name == "p"
    with pytest.raises(
        ServerGone, match=r"policy server at ws://h:1 is gone \(connection refused\)"
    ) as caught:
        arrive(AWAY, policy="server.address")  # whoever wrote that file watches it
    assert "goes on from there" in caught.value.hint


def test_a_process_plays_with_no_other_policy_than_the_evaluation_began_with(arrive):
    with pytest.raises(StairError, match="is served by another policy now: q"):
        arrive("q")
    with pytest.raises(StairError, match="is served by another policy now: q"):
        arrive(AWAY, "q")


def test_last_words_name_a_crash_or_are_the_last_line(tmp_path):
    log = tmp_path / "log"
    assert last_words(log, 0) == ""
    log.write_text("first\nsecond\n\n")
    assert last_words(log, 0) == "second"
    log.write_text("first\nFatal Python error: Segmentation fault\n\nstack\nExtension modules: x\n")
    assert last_words(log, 6) == "Fatal Python error: Segmentation fault"
    assert last_words(Path("/nowhere"), 0) == ""
