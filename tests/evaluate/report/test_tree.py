"""report.json keeps to its published schema."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stair.evaluate.numbers.comparison import compare_reports
from stair.evaluate.numbers.real_robot import against_real, published
from stair.evaluate.report import tree
from stair.evaluate.report.reading import read_report
from stair.evaluate.report.tree import VERSION, as_json
from stair.rundir import append_line
from tests.evaluate.test_episodes import record
from tests.fakes.simpler_run import WIDOWX, simpler_records, write_run

SCHEMA = json.loads(Path(tree.__file__).with_name("report.schema.json").read_text())
TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
KNOWN = {
    *("type", "required", "properties", "additionalProperties", "items", "minItems", "maxItems"),
    *("minimum", "maximum", "enum", "const", "$ref", "description", "$schema", "title", "$defs"),
}


def check(value, schema, where="report"):
    """The part of JSON Schema that ours uses; AssertionError names the place."""
    assert set(schema) <= KNOWN, f"{where}: this test does not understand {set(schema) - KNOWN}"
    if "$ref" in schema:
        return check(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], where)
    if "type" in schema:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        wrong = isinstance(value, bool) and "boolean" not in kinds  # which Python takes for an integer
        assert not wrong, f"{where}: {value!r}"
        assert any(isinstance(value, TYPES[kind]) for kind in kinds), f"{where}: {value!r}"
    assert "const" not in schema or value == schema["const"], where
    assert "enum" not in schema or value in schema["enum"], where
    if value is None:
        return None
    assert value >= schema["minimum"] if "minimum" in schema else True, f"{where}: {value}"
    assert value <= schema["maximum"] if "maximum" in schema else True, f"{where}: {value}"
    if isinstance(value, list):
        assert schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)), where
        for place, item in enumerate(value):
            check(item, schema.get("items", {}), f"{where}[{place}]")
    if isinstance(value, dict):
        assert set(schema.get("required", ())) <= set(value), (
            f"{where}: no {set(schema['required']) - set(value)}"
        )
        for name, item in value.items():
            more = schema.get("additionalProperties", True)
            inner = schema.get("properties", {}).get(name, more)
            assert inner is not False, f"{where}: {name} is not in the schema"
            check(item, inner if isinstance(inner, dict) else {}, f"{where}.{name}")
    return None


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A report with everything in it: seeds, an error, flags, a training, a comparison, the real robot."""
    root = tmp_path_factory.mktemp("full")
    for seed in (0, 1):
        run = write_run(root / "a" / f"seed{seed}", simpler_records(WIDOWX[:3], seed=seed))
        append_line(run / "episodes" / "put.jsonl", vars(replace(record(0, error="lost"), seed=seed)))
    append_line(root / "a" / "stage2" / "metrics.jsonl", {"step": 1, "loss": 0.5})
    write_run(root / "b", simpler_records(WIDOWX, skill=0.3, policy="octo-base"))
    one, other = read_report(root / "a"), read_report(root / "b")
    return replace(
        one,
        against="b",
        comparison=compare_reports(one.evaluations, other.evaluations),
        real=against_real(other, published()),
    )


def test_a_full_report_keeps_to_the_schema(full):
    tree = as_json(full)
    check(json.loads(json.dumps(tree, allow_nan=False)), SCHEMA)
    evaluation = tree["evaluations"][0]
    assert {mean["kind"] for mean in evaluation["means"]} == {"task", "suite", "all"}
    (suite,) = (mean for mean in evaluation["means"] if mean["kind"] == "suite")
    assert (suite["complete"], suite["missing"]) == (False, [WIDOWX[3]])
    assert len(evaluation["layouts"]) == 3 * 24
    assert tree["comparison"]
    assert tree["real_robot"]


def test_a_task_of_errors_alone_keeps_to_it_too(tmp_path):
    run = write_run(tmp_path, [record(0, error="lost")])
    check(as_json(read_report(run)), SCHEMA)


def test_every_field_of_the_schema_is_written(full):
    """A promise that nothing keeps would be none."""
    tree, promised = as_json(full), SCHEMA["$defs"]
    evaluation = tree["evaluations"][0]
    assert set(tree) == set(SCHEMA["properties"])
    for name, value in (
        ("evaluation", evaluation),
        ("task", evaluation["tasks"][0]),
        ("mean", evaluation["means"][0]),
        ("layout", evaluation["layouts"][0]),
        ("rate", evaluation["means"][0]["success"]),
        ("paired", tree["comparison"][0]["success"]),
    ):
        assert set(value) == set(promised[name]["properties"]), name


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("report_version",), VERSION + 1),
        (("precision",), "5"),
        (("surprise",), 1),
        (("evaluations", 0, "seeds"), 1),
    ],
)
def test_the_check_sees_what_does_not_fit(full, path, value):
    tree = json.loads(json.dumps(as_json(full)))
    place = tree
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(AssertionError):
        check(tree, SCHEMA)
