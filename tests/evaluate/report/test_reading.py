"""What a report tells: true numbers, one page that needs nothing, and nothing where nothing is."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from stair.errors import StairError
from stair.evaluate.episodes import HEADER, append_record
from stair.evaluate.numbers.comparison import compare_reports
from stair.evaluate.numbers.real_robot import RealTask
from stair.evaluate.report.charts import MOST_POINTS, line_chart, thin
from stair.evaluate.report.html import as_html
from stair.evaluate.report.reading import Folder, NothingToReport, joined, read_report, write_report
from stair.evaluate.report.text import as_markdown
from stair.evaluate.report.tree import as_json
from stair.rundir import RunDir, append_line, write_json
from tests.evaluate.test_episodes import record

VOID = {"meta", "img", "br", "wbr"}


class Page(HTMLParser):
    """Reads a page strictly: every tag closed, in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.links = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "poster", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def chain(tmp_path):
    """A chain's folder: an evaluation of two tasks, its swapped probe, and two trainings."""
    run = RunDir(tmp_path / "chain" / "eval")
    for number in range(8):
        append_record(run.episodes, record(number, success=number < 2, ever=number < 6))
        append_record(run.episodes, record(number, success=number < 4, task="lift <b>"))
    write_json(run.episodes / HEADER, {"policy": "runs/stage2", "seed": 0, "instruction": ""})
    append_record(RunDir(tmp_path / "chain" / "probe").episodes, record(0, variant="swapped"))
    for stage in ("stage1", "stage2"):
        for step in range(10, 60, 10):
            values = {"loss": 1 / step, "held_out/loss_dynamic": 0.1, "held_out/loss_zero": 0.2, "lr": 1e-3}
            append_line(tmp_path / "chain" / stage / "metrics.jsonl", {"step": step, **values})
    return tmp_path / "chain"


def test_the_numbers_are_those_of_the_records(chain):
    tree = as_json(read_report(chain))
    assert [one["name"] for one in tree["evaluations"]] == ["eval", "probe"]
    lift, put = tree["evaluations"][0]["tasks"]
    assert (lift["successes"], lift["episodes"], lift["success_rate"]) == (4, 8, 0.5)
    assert (put["successes"], put["successes_ever"], put["success_rate"]) == (2, 6, 0.25)
    assert put["interval"] == pytest.approx([0.0715, 0.5907], abs=1e-4)
    assert tree["evaluations"][0]["mean_success_rate"] == pytest.approx(0.375)
    assert tree["evaluations"][0]["settings"]["policy"] == "runs/stage2"
    assert tree["evaluations"][1]["tasks"][0]["variant"] == "swapped"
    assert [one["name"] for one in tree["trainings"]] == ["stage1", "stage2"]
    assert tree["trainings"][0]["last"]["loss"] == 0.02
    json.dumps(tree, allow_nan=False)


def test_a_run_folder_is_reported_directly(chain):
    (only,) = read_report(chain / "eval").evaluations
    assert only.name == ""
    assert len(only.tasks) == 2


def test_markdown_holds_the_table(chain):
    text = as_markdown(read_report(chain))
    assert "| put | 25.0 % | 7.1 – 59.1 | 75.0 % | 40.9 – 92.9 | 8 | 12.5 | 0 |" in text
    assert "| mean of tasks | 37.5 % |" in text
    assert "episodes for ± 5 points at these rates: lift <b> 381, put 286" in text
    widths = {line.count("|") for line in text.splitlines() if "%" in line and line.startswith("|")}
    assert widths == {9}


def test_the_page_parses_and_fetches_nothing(chain):
    text = as_html(read_report(chain))
    page = Page(text)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<script|<link", text)
    assert all(link.startswith("data:") for link in page.links)
    assert page.tags.count("svg") >= 2 + 2 * 2
    words = " ".join(page.text)
    assert "25.0 %" in words
    assert "Training stage2" in words
    assert "lift <b>" in words  # escaped in the source, a word on the page


def test_folders_that_differ_in_the_seed_alone_are_one_evaluation(tmp_path):
    for seed in (0, 1, 2):
        run = RunDir(tmp_path / f"seed{seed}")
        for number in range(4):
            wins = number < 2 or number - 2 < seed % 2
            made = replace(record(number, success=wins), seed=seed, video=f"videos/ep{number}.mp4")
            append_record(run.episodes, made)
        write_json(run.episodes / HEADER, {"policy": "p", "seed": seed})
    (one,) = read_report(tmp_path).evaluations
    assert one.name == "seed0 + seed1 + seed2"
    assert one.settings == {"policy": "p", "seed": "0, 1, 2"}
    (task,) = one.tasks
    assert (task.episodes, task.layouts) == (12, 4)
    assert task.rate == pytest.approx((1 + 1 + 1 / 3 + 0) / 4)
    assert one.records[2].video == "seed2/videos/ep0.mp4"
    tree = as_json(read_report(tmp_path))["evaluations"][0]
    assert [cell["success_rate"] for cell in tree["layouts"]] == pytest.approx([1, 1, 1 / 3, 0])


@pytest.mark.parametrize(
    ("second", "settings"), [(record(0), {"policy": "q"}), (record(0), {"policy": "p"}), (record(0), {})]
)
def test_other_policies_and_the_same_seed_again_stay_apart(tmp_path, second, settings):
    for name, one, told in (("a", record(0), {"policy": "p"}), ("b", second, settings)):
        append_record(RunDir(tmp_path / name).episodes, one)
        write_json(RunDir(tmp_path / name).episodes / HEADER, told)
    assert [one.name for one in read_report(tmp_path).evaluations] == ["a", "b"]


def test_steps_with_tasks_of_their_own_are_one_evaluation(tmp_path):
    for name, task in (("widowx", "put"), ("google", "lift")):
        append_record(RunDir(tmp_path / name).episodes, record(0, task=task))
        write_json(RunDir(tmp_path / name).episodes / HEADER, {"policy": "p", "seed": 0})
    (one,) = read_report(tmp_path).evaluations
    assert [task.task for task in one.tasks] == ["lift", "put"]


def test_partial_successes_and_times_are_added_up(tmp_path):
    for number in range(4):
        flags = {"grasped": number < 1}, {"grasped": number < 3}
        made = replace(record(number), info=flags[0], info_ever=flags[1], times_s={"policy": 0.2})
        append_record(RunDir(tmp_path).episodes, made)
    append_record(RunDir(tmp_path).episodes, record(4))  # of a version that recorded none
    report = read_report(tmp_path)
    told = as_json(report)["evaluations"][0]["tasks"][0]
    assert (told["partial"]["grasped"]["last"]["rate"], told["partial"]["grasped"]["ever"]["rate"]) == (
        0.25,
        0.75,
    )
    assert told["partial"]["grasped"]["ever"]["episodes"] == 4
    assert (told["wall_s"], told["times_s"]) == (2.5, {"policy": pytest.approx(0.8)})
    text = as_markdown(report)
    assert "| put | grasped | 25.0 % | 4.6 – 69.9 | 75.0 % |" in text
    assert "added up over workers: policy 32 %" in text


def test_the_asked_precision_is_what_episodes_are_counted_for(chain):
    report = replace(read_report(chain), precision=0.1)
    tree = as_json(report)
    assert tree["precision"] == 0.1
    assert [task["episodes_needed"] for task in tree["evaluations"][0]["tasks"]] == [93, 70]
    assert "n for ± 10" in as_html(report)


def test_a_comparison_and_a_real_robot_have_their_sections(chain):
    report = read_report(chain / "eval")
    other = [Folder("", {}, [record(n, success=n > 4) for n in range(8)])]
    compared = compare_reports(report.evaluations, joined(other))
    real = [RealTask("put", (("p", 0.25, 0.5), ("q", 0.5, 0.4)), ("r",))]
    report = replace(report, against="runs/<other>", comparison=compared, real=real)
    page = Page(as_html(report))
    words = " ".join(page.text)
    assert "This run minus runs/<other>" in words
    assert "not distinguishable" in words
    assert "-12.5 points" in words
    assert "0.1000" in words
    assert page.tags.count("svg") >= 4
    assert "## This run minus" in as_markdown(report)
    tree = as_json(report)
    assert tree["comparison"][0]["success"]["difference"] == pytest.approx(-0.125)
    assert tree["real_robot"][0]["mmrv"] == pytest.approx(0.1)


def test_errors_are_shown_and_counted_apart(chain):
    append_record(RunDir(chain / "eval").episodes, record(0, error="vk <Device> lost"))
    report = read_report(chain)
    assert report.errors == 1
    assert "vk &lt;Device&gt; lost" in as_html(report)
    assert "vk <Device> lost" in as_markdown(report)
    assert as_json(report)["evaluations"][0]["tasks"][1]["episodes"] == 7


def test_a_task_of_errors_alone_can_be_reported(tmp_path):
    append_record(RunDir(tmp_path).episodes, record(0, error="lost"))
    report = read_report(tmp_path)
    Page(as_html(report))
    assert as_json(report)["evaluations"][0]["tasks"][0]["success_rate"] is None
    assert as_json(report)["evaluations"][0]["mean_success_rate"] is None
    assert "no finished episode" in as_html(report)


def test_all_three_files_are_written(chain):
    page = write_report(read_report(chain))
    assert page == chain / "report.html"
    assert json.loads((chain / "report.json").read_text())["evaluations"]
    assert (chain / "report.md").read_text().startswith("# chain")
    write_report(read_report(chain))  # reports are no runs: a second one finds the same


@pytest.mark.parametrize("make", [False, True])
def test_nothing_to_report_is_told_with_its_own_exit_code(tmp_path, make):
    if make:
        (tmp_path / "run" / "episodes").mkdir(parents=True)
    with pytest.raises(NothingToReport) as caught:
        read_report(tmp_path / "run")
    assert caught.value.exit_code == 3


def test_of_a_step_logged_twice_the_later_line_counts_and_odd_values_do_not(chain):
    file = chain / "stage1" / "metrics.jsonl"
    append_line(file, {"step": 50, "loss": 9.0, "note": "words", "flag": True, "gone": float("inf")})
    metrics = read_report(chain).trainings[0].metrics
    assert metrics["loss"][-1] == (50.0, 9.0)
    assert len(metrics["loss"]) == 5
    assert not {"note", "flag", "gone"} & set(metrics)


def test_a_damaged_metrics_file_is_named(chain):
    (chain / "stage1" / "metrics.jsonl").write_text("nonsense\n")
    with pytest.raises(StairError, match=r"metrics\.jsonl"):
        read_report(chain)


@pytest.mark.parametrize("points", [[(1, 0.5)], [(0, 0.0)], [(0, 1.0), (5, 1.0)], [(1, -2.0), (2, -1.0)]])
def test_curves_of_few_or_flat_points_are_drawn_inside_their_chart(points):
    text = line_chart("loss", {"loss": points})
    Page(text)
    for x, y in re.findall(r"(\d+\.\d),(-?\d+\.\d)", text):
        assert 0 <= float(x) <= 420
        assert 0 <= float(y) <= 200


def test_long_curves_are_thinned_to_means():
    points = [(float(k), float(k % 2)) for k in range(10_000)]
    few = thin(points)
    assert len(few) <= MOST_POINTS
    assert few[-1][0] == 9999
    assert all(abs(value - 0.5) < 0.02 for _, value in few[:-1])
