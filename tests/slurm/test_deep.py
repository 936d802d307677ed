"""The all-reduce of `stair-doctor --deep` between two real nodes: sum, rate, and whose fault it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stair.doctor.deep.all_reduce import between_nodes
from stair.doctor.deep.deepen import deepen_nodes
from stair.doctor.deep.peer import Errand
from stair.doctor.srun import Party
from stair.doctor.visit import Visit
from tests.containers.eval_image import eval_image  # noqa: F401
from tests.containers.train_image import train_image  # noqa: F401
from tests.slurm.live import LiveSlurm

pytestmark = pytest.mark.slow
TWO = Party(("n1", "n2"), partition="train", memory_mb=2000)


@pytest.fixture
def islands(slurm: LiveSlurm) -> Iterator[tuple[str, ...]]:
    """Both nodes have a network that no cable connects, `n1` one more that the other has not."""
    made = (("n1", "apart0", "10.77.1.1"), ("n2", "apart0", "10.77.2.1"), ("n1", "only0", "10.78.1.1"))
    for node, name, address in made:
        slurm.on(node, ["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}-end"])
        slurm.on(node, ["ip", "address", "add", f"{address}/24", "dev", name])
        for end in (name, f"{name}-end"):
            slurm.on(node, ["ip", "link", "set", end, "up"])
    yield ("apart0", "only0")
    for node, name, _ in made:
        slurm.on(node, ["ip", "link", "delete", name])


def test_two_nodes_add_up_in_the_image_and_nothing_of_ours_lies_on_them(slurm, train_image, tmp_path):  # noqa: F811
    errand = Errand(image=str(train_image.path), variables={"GLOO_SOCKET_IFNAME": "eth0"})
    fact = between_nodes(TWO, errand, {**slurm.environment, "TMPDIR": str(tmp_path)})
    assert fact["ok"], fact
    assert fact["hosts"] == ["n1", "n2"]
    assert [(side["host"], side["interface"], side["right"]) for side in fact["sides"]] == [
        ("n1", "eth0", True),
        ("n2", "eth0", True),
    ]
    assert fact["bus_gb_s"] > 0
    assert fact["latency_us"] > 0
    assert not list(tmp_path.iterdir())


def test_the_node_that_lacks_the_named_network_is_named(slurm, islands):
    errand = Errand(variables={"GLOO_SOCKET_IFNAME": "only0"}, wait_s=20)
    fact = between_nodes(TWO, errand, slurm.environment)
    assert not fact["ok"]
    assert (fact["at"], fact["stage"]) == ("n2", "start")
    assert "no network interface only0" in fact["error"]
    assert "eth0" in fact["error"]


def test_a_network_without_a_cable_fails_where_processes_connect(slurm, islands):
    errand = Errand(variables={"GLOO_SOCKET_IFNAME": "apart0"}, wait_s=10)
    fact = between_nodes(TWO, errand, slurm.environment)
    assert not fact["ok"]
    assert fact["stage"] == "group"
    assert fact["at"] in ("n1", "n2")


def test_nodes_that_slurm_does_not_give_are_no_fault_of_the_network(slurm):
    fact = between_nodes(Party(("n1", "n2"), partition="nowhere"), Errand(), slurm.environment)
    assert "partition" in fact["failed"]


def test_every_node_that_answered_is_measured_and_the_first_two_add_up(slurm, train_image):  # noqa: F811
    visits = (
        Visit("head", "login", host={}),
        Visit("n1", "compute", host={}),
        Visit("n2", "compute", host={}),
        Visit("n3", "compute", missing={"node": "down"}),
    )
    found = deepen_nodes(
        visits,
        Party(partition="train"),
        [str(train_image.path)],
        network={"GLOO_SOCKET_IFNAME": "eth0"},
        memory_mb=2000,
        environment=slurm.environment,
    )
    assert [visit.name for visit in found] == ["head", "n1", "n2", "n3"]
    assert [visit.deep is None for visit in found] == [True, False, False, True]
    first, second = (visit.deep or {} for visit in found[1:3])
    for deep in (first, second):
        assert deep["container"][0]["ok"], deep
        (rates,) = deep["compute"]
        assert rates["error"] == ""
        assert rates["fp32_tflops"] > 0
        assert deep["draw"]["how"] == "missing"  # a training image has no SAPIEN
    assert first["all_reduce"]["ok"], first
    assert "all_reduce" not in second


def test_a_node_draws_with_modules_that_were_sent_to_it(slurm, eval_image, tmp_path):  # noqa: F811
    (found,) = deepen_nodes(
        (Visit("n3", "compute", host={}),),
        Party(partition="train"),
        [str(eval_image.path)],
        pictures=str(tmp_path),
        memory_mb=2500,
        environment=slurm.environment,
    )
    deep = found.deep or {}
    assert [fact["ok"] for fact in deep["draw"]] == [True] * len(deep["draw"]), deep
    assert (tmp_path / "n3" / "sapien3-cpu.png").stat().st_size > 300
    assert deep["compute"][0]["fp32_tflops"] > 0  # the evaluation image has torch too
    assert "all_reduce" not in deep  # that takes two
