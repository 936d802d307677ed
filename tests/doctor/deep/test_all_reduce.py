"""Two sides become one fact: which of them failed, and where. Two real processes add up over loopback."""

from __future__ import annotations

import os
import socket
from dataclasses import asdict

import pytest

from stair.doctor.deep import summing
from stair.doctor.deep.all_reduce import compare, free_port, on_this_machine, summary
from stair.doctor.deep.child import Ended
from stair.doctor.deep.links import PORTS
from stair.doctor.deep.peer import Errand, answer, missing, read_told, seated, way_to
from stair.errors import UsageError


def side(rank: int, stage: str = "done", error: str = "", **more):
    rates = {"right": True, "bus_gb_s": 2.0 - rank, "latency_us": 30.0, "message_mb": 16}
    hosts = ["n1", "n2"]
    return {
        "host": hosts[rank],
        "rank": rank,
        "hosts": hosts,
        "stage": stage,
        "error": error,
        **rates,
        **more,
    }


@pytest.mark.slow
def test_two_processes_here_add_up_rightly():
    pytest.importorskip("torch")
    fact = on_this_machine(Errand())
    assert fact["ok"], fact
    assert (fact["backend"], fact["between"]) == ("gloo", "processes")
    assert [answer["interface"] for answer in fact["sides"]] == ["lo", "lo"]
    assert fact["bus_gb_s"] > 0
    assert fact["latency_us"] > 0


def test_the_slower_sides_rate_counts():
    fact = compare([side(1), side(0)])
    assert (fact["ok"], fact["bus_gb_s"], fact["hosts"]) == (True, 1.0, ["n1", "n2"])
    assert summary(fact) == "right sum, 1 GB/s, 30 us"


@pytest.mark.parametrize(
    ("sides", "at", "stage", "says"),
    [
        ([side(0, "meet", "timed out"), side(1, "start", "no eth9")], "n2", "start", "no eth9"),
        ([side(0, "torch", "no end within 9 s"), side(1, "meet", "refused")], "n1", "torch", "no end"),
        ([side(0, "meet", "timed out waiting"), side(1, "meet", "refused")], "n2", "meet", "refused"),
        ([side(0, "group", "timed out"), side(1, "done")], "n1", "group", "timed out"),
        ([side(0), side(1, right=False)], "n2", "sum", "wrong"),
        ([side(0, "meet", "timed out")], "n2", "start", "slurmstepd: out of memory"),
        ([], "n1", "start", "no answer"),
    ],
)
def test_the_side_that_came_less_far_is_named(sides, at, stage, says):
    fact = compare(sides, ["n1", "n2"], {"n2": "slurmstepd: out of memory"})
    assert not fact["ok"]
    assert (fact["at"], fact["stage"]) == (at, stage)
    assert says in fact["error"]
    assert fact["wrong"] is (stage == "sum")


def test_without_torch_nothing_was_tried():
    fact = compare([side(0, "meet", "timed out"), side(1, "torch", "No module named torch", no_torch=True)])
    assert fact == {"failed": "no torch on n2: No module named torch", "how": "missing"}


def test_slurms_variables_seat_a_node():
    slurm = {"SLURM_STEP_NODELIST": "gpu[07-08]", "SLURM_JOB_ID": "4711", "SLURM_PROCID": "1"}
    errand = seated(Errand(), slurm)
    assert (errand.rank, errand.hosts) == (1, ("gpu07", "gpu08"))
    assert 15_000 <= errand.port < 31_000
    # the training of a job meets at a multiple of 16 (and restarts below): never at ours
    assert (errand.port - 15_000 - 4711 * 16) % 16_000 == 11
    with pytest.raises(KeyError):
        seated(Errand(), {})
    with pytest.raises(UsageError):
        seated(Errand(), {**slurm, "SLURM_STEP_NODELIST": "gpu[07"})


def test_an_errand_that_cannot_be_run_is_answered_too():
    said = answer(asdict(Errand()), {})
    assert (said["rank"], said["stage"]) == (-1, "start")
    assert "SLURM_STEP_NODELIST" in said["error"]


def test_two_processes_of_a_machine_meet_where_no_connection_comes_between(monkeypatch):
    """They listen seconds after the port was chosen: Linux must not give it to anybody in the meantime."""
    port = free_port()
    assert port < 32768  # the first that it gives, unless told otherwise
    assert (port - PORTS.start) % 16 == 11  # and that of no training, see `seated`
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        monkeypatch.setattr("secrets.SystemRandom.sample", lambda self, ports, count: [port, *ports])
        assert free_port() != port


def test_what_a_node_lacks_is_found_before_anything_waits():
    here = Errand(hosts=("127.0.0.1", "127.0.0.1"))
    assert missing(here) == ""
    lacking = Errand(hosts=here.hosts, variables={"GLOO_SOCKET_IFNAME": "lo,ib7"})
    assert missing(lacking).startswith("no network interface ib7 (GLOO_SOCKET_IFNAME); it has lo")
    assert missing(Errand(hosts=here.hosts, variables={"NCCL_SOCKET_IFNAME": "^ib7"})) == ""
    assert "cannot be resolved" in missing(Errand(hosts=("no-such-host.invalid", "127.0.0.1")))


def test_the_way_to_a_host_has_a_name_and_an_address():
    assert way_to("127.0.0.1") == ("lo", "127.0.0.1")
    assert way_to("no-such-host.invalid") == ("", "")


@pytest.mark.parametrize(
    ("out", "code", "stage", "says"),
    [
        ('{"stage": "torch"}\n{"stage": "meet"}\n', None, "meet", "no end within 9 s"),
        ('{"stage": "group"}\n', -6, "group", "signal 6"),
        ('noise\n{"stage": "group"}\n{"error": "refused"}\n', 0, "group", "refused"),
        ('{"stage": "sum"}\n{"stage": "done", "right": true}\n', 0, "done", ""),
    ],
)
def test_stages_are_known_however_a_side_ended(out, code, stage, says):
    told = read_told(Ended(code, out, "gloo says", 1.0), 9)
    assert told["stage"] == stage
    assert says in told.get("error", "")


def test_a_side_whose_other_never_comes_says_that_it_waited():
    pytest.importorskip("torch")
    alone = Errand(hosts=("127.0.0.1", "127.0.0.1"), rank=1, port=9, wait_s=2, limit_s=120)
    said = answer(asdict(alone), os.environ)
    assert said["stage"] == "meet"
    assert said["error"]


@pytest.mark.parametrize("wrong", [0.0, 1.0])
def test_a_sum_that_is_wrong_in_its_last_number_is_seen(wrong, monkeypatch):
    torch = pytest.importorskip("torch")

    def all_reduce(mine):
        mine += torch.arange(len(mine)) % 1000 + 1000
        mine[-1] += wrong

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    assert summing._right_sum(0, "cpu") is (wrong == 0)
