"""Nodes that cannot be reached keep their visits, and their `deep` says why; what lies here stays here."""

from __future__ import annotations

import os

from stair.doctor.deep import measure
from stair.doctor.deep.deepen import deepen_here, deepen_nodes
from stair.doctor.deep.judge import CHECKS
from stair.doctor.srun import Party
from stair.doctor.visit import Visit, from_json, to_json


def test_without_srun_every_node_is_unknown_and_nobody_else_is_touched(tmp_path):
    visits = (
        Visit("head", "login", host={}),
        Visit("n1", "compute", host={}),
        Visit("n2", "compute", missing={"node": "down"}),
    )
    found = deepen_nodes(visits, Party(), environment={"PATH": str(tmp_path)})
    assert (found[0], found[2]) == (visits[0], visits[2])
    deep = found[1].deep or {}
    assert "no 'srun'" in deep["draw"]["failed"]
    levels = {finding.level for check in CHECKS for finding in check.judge({"deep": deep})}
    assert levels == {"unknown"}
    assert from_json(to_json(found[1])) == found[1]


def test_without_nodes_nothing_is_asked():
    visits = (Visit("head", "login", host={}),)
    assert deepen_nodes(visits, Party(), environment={}) == visits


def test_a_node_measures_with_its_own_sheet_and_keeps_pictures_apart(monkeypatch):
    asked = {}

    def deep_facts(sheet, images, **more):
        asked.update(more, sheet=sheet, images=images)
        return {}

    monkeypatch.setattr(measure, "deep_facts", deep_facts)
    told = {
        "sheets": {"n2": {"cuda": None}},
        "images": ["/x.sif"],
        "pictures": "/p",
        "binds": ["/d"],
        "parts": [],
    }
    measure.on_node(told, {"SLURMD_NODENAME": "n2"})
    assert (asked["sheet"], asked["images"], asked["pictures"]) == ({"cuda": None}, ["/x.sif"], "/p/n2")
    assert asked["container"].binds == ("/d",)


def test_this_machine_gets_what_was_measured_on_it(monkeypatch):
    monkeypatch.setattr("stair.doctor.deep.deepen.deep_facts", lambda sheet, images, **_: {"draw": []})
    visit = deepen_here(Visit("here", host={}), environment=os.environ)
    assert visit.deep == {"draw": []}
