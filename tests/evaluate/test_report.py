"""What a report tells: true numbers, one page that needs nothing, and nothing where nothing is."""

import json
import re
from html.parser import HTMLParser

import pytest

from stair.errors import StairError
from stair.evaluate.episodes import HEADER, append_record
from stair.evaluate.report import NothingToReport, read_report, write_report
from stair.evaluate.report_charts import MOST_POINTS, line_chart, thin
from stair.evaluate.report_html import FILM_BYTES, as_html
from stair.evaluate.report_text import as_json, as_markdown
from stair.rundir import RunDir, append_line, write_json
from tests.evaluate.test_episodes import record

VOID = {"meta", "img", "br", "circle", "line", "polyline"}


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
    assert "| put | 25.0 % | 8 | 7.1 – 59.1 % | 75.0 % | 60.0 |" in text
    assert "| mean of tasks | 37.5 % |" in text
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


def test_films_are_embedded_then_pictured_then_linked(chain):
    run = RunDir(chain / "eval")
    for number, size in ((0, 1000), (1, FILM_BYTES + 1), (2, None)):
        name = f"videos/put/ep{number:04d}-failure"
        if size:
            (run.path / name).parent.mkdir(parents=True, exist_ok=True)
            (run.path / f"{name}.mp4").write_bytes(b"\0" * size)
            (run.path / f"{name}.png").write_bytes(b"png")
        line = {**vars(record(number)), "video": f"{name}.mp4"}
        append_line(run.episodes / "put.jsonl", line)
    page = Page(as_html(read_report(chain)))
    assert [link.partition(",")[0] for link in page.links[:2]] == [
        "data:video/mp4;base64",
        "data:image/png;base64",
    ]
    assert page.links[2] == "eval/videos/put/ep0002-failure.mp4"


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
