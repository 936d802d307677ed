"""Real tables are read, simulated rates are found where they are, and what is wrong is named."""

import json

import pytest

from stair.errors import StairError
from stair.evaluate.numbers.real_robot import RealRate, against_real, as_json, published, read_real
from stair.evaluate.report.reading import NothingToReport, read_report
from tests.evaluate.test_episodes import record
from tests.fakes.simpler_run import simpler_records, write_run


def a_run(folder, wins, policy="octo-base", task="put"):
    records = [record(n, success=n < wins, task=task) for n in range(10)]
    return write_run(folder, [type(r)(**{**vars(r), "policy": policy}) for r in records])


def test_csv_and_json_tables_mean_the_same(tmp_path):
    (tmp_path / "real.csv").write_text("policy,task,real,simulated,run\na,put,0.5,0.25,\nb,put,0.1,,runs/b\n")
    rows = [
        {"policy": "a", "task": "put", "real": 0.5, "simulated": 0.25},
        {"policy": "b", "task": "put", "real": 0.1, "run": "runs/b"},
    ]
    (tmp_path / "real.json").write_text(json.dumps(rows))
    wanted = [RealRate("a", "put", 0.5, 0.25), RealRate("b", "put", 0.1, None, tmp_path / "runs/b")]
    assert read_real(tmp_path / "real.csv") == read_real(tmp_path / "real.json") == wanted


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("r.csv", "policy,task\na,put\n", "row 1 .* it has no real"),
        ("r.csv", "policy,task,real\na,put,50 %\n", "row 1 .*'50 %'"),
        ("r.csv", "policy,task,real\na,put,0.5\na,put,50\n", "row 2 .* between 0 and 1"),
        ("r.json", '{"a": 1}', "no list"),
        ("r.json", "[3]", "row 1"),
        ("r.json", "nonsense", "cannot read"),
    ],
)
def test_a_row_that_is_none_is_named(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(StairError, match=said):
        read_real(tmp_path / name)


def test_a_missing_table_is_an_expected_failure(tmp_path):
    with pytest.raises(StairError, match="cannot read real success rates"):
        read_real(tmp_path / "nothing.csv")


def test_rates_come_from_the_named_run_then_from_the_report_then_from_the_row(tmp_path):
    report = read_report(a_run(tmp_path / "own", 4, policy="runs/mine"))
    a_run(tmp_path / "other", 9)
    known = [
        RealRate("mine", "put", 0.3, simulated=0.99),
        RealRate("octo", "put", 0.8, simulated=0.99, run=tmp_path / "other"),
        RealRate("paper", "put", 0.1, simulated=0.2),
        RealRate("unknown", "put", 0.5),
        RealRate("unknown", "lift", 0.5),
    ]
    (task,) = against_real(report, known)
    assert task.policies == (("mine", 0.4, 0.3), ("octo", 0.9, 0.8), ("paper", 0.2, 0.1))
    assert task.without == ("unknown",)
    assert task.mmrv == 0.0
    assert task.pearson == pytest.approx(1.0, abs=1e-6)


def test_one_policy_has_no_order(tmp_path):
    report = read_report(a_run(tmp_path, 4, policy="mine"))
    (task,) = against_real(report, [RealRate("mine", "put", 0.3)])
    assert (task.mmrv, task.pearson) == (None, None)
    assert as_json(task)["policies"] == [{"policy": "mine", "simulated": 0.4, "real": 0.3}]


def test_a_named_run_without_episodes_is_told(tmp_path):
    report = read_report(a_run(tmp_path / "own", 4))
    with pytest.raises(NothingToReport):
        against_real(report, [RealRate("x", "put", 0.3, run=tmp_path / "nowhere")])


def test_visual_matching_is_held_against_reality_and_a_probe_is_not(tmp_path):
    records = simpler_records(["google_robot_open_drawer"], policy="octo-base")
    records = [type(r)(**{**vars(r), "success": r.variant.startswith("va-")}) for r in records]
    probe = [record(0, success=True, variant="swapped")]
    report = read_report(write_run(tmp_path, [*records, *probe]))
    found = {
        task.task: task for task in against_real(report, [*published(), RealRate("octo-base", "put", 1.0)])
    }
    assert ("octo-base", 0.0, 0.148) in found["google_robot_open_drawer"].policies
    assert "put" not in found
    assert len(found) == 9
