"""Every fault sheet: no check crashes on it, and the first cause found is the right one."""

from __future__ import annotations

import json

import pytest

from stair.doctor.checks import ALL, because, diagnose
from stair.doctor.finding import fold
from stair.doctor.visit import Visit
from tests.doctor import sheets

FAILURES = (
    {"failed": "no answer within 5 s", "how": "timeout"},
    {"failed": "ended by signal 11", "how": "signal"},
    {"failed": "OSError: odd", "how": "error"},
)
ROLES = ("here", "login", "compute")
DRAWING = {
    "gpus_per_node": 2, "cpus": 16, "memory_mb": 64000, "minutes": 60, "kind": "eval", "render": "nvidia",
    "layout": "colocated", "minutes_left": 58,
}  # fmt: skip


@pytest.mark.parametrize("name", sheets.names())
def test_the_first_cause_of_a_fault_sheet_is_found(name: str):
    sheet = sheets.read(name)
    causes = fold(diagnose(sheet.visits), because())
    told = [(each.cause.id, each.cause.level, each.cause.place, each.cause.seen) for each in causes]
    if not sheet.expect:
        assert not [cause for cause in told if cause[1] != "note"]
    else:
        assert told, "nothing was found"
        assert told[0][:2] == (sheet.expect, sheet.level), told


def test_fault_sheets_are_many_and_say_how_they_were_made():
    found = [sheets.read(name) for name in sheets.names()]
    assert len(found) >= 60
    assert all(sheet.made in ("real", "recorded", "by hand") and len(sheet.how) > 20 for sheet in found)
    assert all(sheet.level in ("", "note", "warning", "error", "unknown") for sheet in found)
    assert {sheet.expect for sheet in found if sheet.expect} <= {check.id for check in ALL}


@pytest.mark.parametrize("name", sheets.bases())
def test_a_base_is_healthy(name: str):
    for role in ROLES:
        findings = diagnose([_visit(name, sheets.base(name), role=role)])
        assert not [finding for finding in findings if finding.level != "note"], role


@pytest.mark.parametrize("name", sheets.bases())
def test_no_check_crashes_where_a_section_failed_or_is_absent_and_each_is_unknown_once(name: str):
    whole = sheets.base(name)
    for section in whole:
        for failure in FAILURES:
            visit = _visit(name, {**whole, section: failure}, role="compute", request=DRAWING)
            findings = [f for f in diagnose([visit]) if f.level == "unknown"]
            assert len(findings) <= 1, (section, findings)
        without = {key: value for key, value in whole.items() if key != section}
        nothing = ({**whole, section: None}, {**whole, section: {}}, {**whole, section: []})
        for sheet in (without, *nothing):
            diagnose([_visit(name, sheet, role="compute", request=DRAWING)])


@pytest.mark.parametrize("name", sheets.bases())
def test_no_check_crashes_where_a_value_is_unset(name: str):
    whole = sheets.base(name)
    for section, value in whole.items():
        for changed in _with_one_unset(value):
            diagnose([_visit(name, {**whole, section: changed}, role="compute", request=DRAWING)])


def test_comparisons_survive_failed_sections_on_either_side():
    host, image = sheets.base("gpu-host"), sheets.base("gpu-image")
    for section in host:
        broken = {**host, section: FAILURES[0]}
        inside = {**image, section: FAILURES[0]}
        for one, other in ((host, broken), (broken, host), (broken, broken)):
            visits = [
                Visit("login", "login", one),
                Visit("n1", "compute", one, image, request=DRAWING),
                Visit("n2", "compute", other, inside, request=DRAWING),
            ]
            diagnose(visits)


def test_an_empty_sheet_is_unknown_and_nothing_else():
    for role in ROLES:
        findings = diagnose([Visit("n1", role, {}, {}, request=DRAWING)])
        assert {(finding.id, finding.level) for finding in findings} == {("probe.sheet", "unknown")}


def test_a_place_that_did_not_answer_is_unknown_with_what_is_known_of_it():
    (finding,) = diagnose([Visit("n1", "compute", missing={"node": "down*"})])
    assert (finding.id, finding.level, finding.place) == ("probe.sheet", "unknown", "n1")
    assert "down*" in finding.seen


def test_every_finding_that_asks_says_what_it_means_and_what_cures_it():
    for name in sheets.names():
        for finding in diagnose(sheets.read(name).visits):
            if finding.level in ("error", "warning"):
                assert finding.means, (name, finding.id)
                assert finding.cure, (name, finding.id)


def test_sheets_are_small_and_name_nobody():
    for path in sheets.FOLDER.glob("*.json"):
        assert path.stat().st_size < 30_000, path.name
        assert "/root" not in path.read_text(), path.name


def test_shortening_and_merging_give_the_sheet_back():
    whole = sheets.base("gpu-host")
    changed = {**whole, "nvml": None}
    assert sheets.shorten(changed, whole) == {"nvml": None}
    assert sheets.merge({"nvml": None}, whole) == changed


def _visit(name: str, sheet: dict, role: str = "here", request: dict | None = None) -> Visit:
    """A visit of one sheet; that of an image on a host that was not looked at."""
    if sheets.base(name)["inside"]:
        return Visit("n1", role, None, sheet, request=request)
    return Visit("n1", role, sheet, request=request)


def _with_one_unset(value):
    """The value with each of its leaves replaced by null, one at a time."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield {**value, key: None}
            yield from ({**value, key: changed} for changed in _with_one_unset(inner))
    elif isinstance(value, list) and value and isinstance(value[0], dict | list):
        yield from ([changed, *value[1:]] for changed in _with_one_unset(value[0]))
        yield json.loads("[]")
