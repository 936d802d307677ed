"""Places held against each other: who is named, by what, and who is not."""

from __future__ import annotations

import pytest

from stair.doctor.checks import diagnose
from stair.doctor.visit import Visit
from tests.doctor import sheets

HOST = sheets.base("cpu-host")


def node(name: str, **sections) -> Visit:
    return Visit(name, "compute", {**HOST, "host": name, **sections})


def told(*visits: Visit) -> list[tuple[str, str]]:
    return [(finding.id, finding.place) for finding in diagnose(visits)]


def cores(count: int) -> dict:
    return {**HOST["cpu"], "count": count}


def test_the_one_node_that_differs_is_named_and_the_majority_is_not():
    visits = [node("n1"), node("n2", cpu=cores(1)), node("n3"), node("n4")]
    (finding,) = diagnose(visits)
    assert (finding.id, finding.place) == ("nodes.cores", "n2")
    assert finding.seen == "cores: 1 here, 2 on 3 of 4 nodes"
    assert "n2" in finding.command


def test_of_two_nodes_that_differ_the_second_is_held_against_the_first():
    assert told(node("n1", cpu=cores(4)), node("n2")) == [("nodes.cores", "n2")]


def test_a_node_that_could_not_say_is_not_named_and_does_not_count():
    visits = [node("n1"), node("n2", cpu={"failed": "timeout", "how": "timeout"}), node("n3", cpu=cores(8))]
    assert ("nodes.cores", "n3") in told(*visits)
    assert ("nodes.cores", "n2") not in told(*visits)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(3, []), (-3, []), (40, [("nodes.clock", "n3")]), (-40, [("nodes.clock", "n3")])],
)
def test_clocks_are_held_against_the_middle_one(seconds: int, expected):
    assert told(node("n1"), node("n2"), node("n3", clock=HOST["clock"] + seconds)) == expected


@pytest.mark.parametrize(("seconds", "level"), [(-5, ""), (-60, "warning"), (-900, "error"), (900, "")])
def test_a_node_that_was_asked_later_may_be_ahead_of_the_login_node_but_not_behind(seconds: int, level: str):
    visits = [Visit("login", "login", HOST), node("n1", clock=HOST["clock"] + seconds)]
    assert [f.level for f in diagnose(visits) if f.id == "login.clock"] == ([level] if level else [])


def test_a_run_folder_of_another_kind_of_file_system_on_the_node_is_named():
    disks = [{**disk, "type": "nfs4"} if disk["name"] == "run folder" else disk for disk in HOST["disks"]]
    login = Visit("login", "login", {**HOST, "disks": disks})
    assert told(login, node("n1")) == [("login.run-folder", "n1")]
    assert told(login, node("n1", disks=disks)) == []


def test_a_login_node_needs_none_of_what_nodes_have():
    gpu = sheets.base("gpu-host")
    login = {
        **gpu,
        "driver": {
            **gpu["driver"],
            "version": None,
            "text": None,
            "modules": [],
            "gpus": [],
            "nodes": [],
            "smi": None,
        },
    }
    login.update(nvml=None, cuda=None, variables={}, slurm={**gpu["slurm"], "job": {}})
    assert told(Visit("login", "login", login), Visit("n1", "compute", gpu)) == []
