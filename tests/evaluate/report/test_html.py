"""The page in a real browser: it draws, in light and in dark, small, and asks no one for anything."""

import re
import shutil
import subprocess
from dataclasses import replace
from urllib.parse import urlparse

import pytest
from PIL import Image

from stair.evaluate.film import save_film
from stair.evaluate.numbers.comparison import compare_reports
from stair.evaluate.numbers.real_robot import against_real, published
from stair.evaluate.report.reading import read_report, write_report
from stair.rundir import append_line
from tests.evaluate.test_episodes import record
from tests.evaluate.test_film import rollout
from tests.fakes.simpler_run import WIDOWX, simpler_records, write_lines, write_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
TASKS = (*WIDOWX, "google_robot_open_drawer", "google_robot_move_near")
ITS_OWN = (".google.com", ".googleapis.com", ".gvt1.com")
"""Whom Chromium asks for itself, whatever page is open."""


def show(page, folder, *flags):
    """A screenshot of a page, and the addresses that were asked for it; no name resolves to anything."""
    picture, log = folder / "shot.png", folder / "net.json"
    words = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--hide-scrollbars",
    ]
    words += ["--disable-background-networking", "--disable-sync", "--disable-extensions", *flags]
    words += ["--host-resolver-rules=MAP * 127.0.0.1:9", f"--user-data-dir={folder / 'profile'}"]
    words += ["--window-size=1100,4400", f"--log-net-log={log}", f"--screenshot={picture}", page.as_uri()]
    subprocess.run(words, check=True, capture_output=True, timeout=300)
    asked = set(re.findall(r'"url":"(https?://[^"]+|wss?://[^"]+)', log.read_text()))
    return Image.open(picture).convert("RGB"), {
        url for url in asked if not (urlparse(url).hostname or "").endswith(ITS_OWN)
    }


def counted(picture):
    """Colour → pixels."""
    return {colour: count for count, colour in picture.getcolors(2**24) or []}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The fullest page there is: 2,000 episodes of one task, SimplerEnv's grids, films, a comparison."""
    root = tmp_path_factory.mktemp("page")
    run = write_run(root / "run" / "simpler", simpler_records(TASKS))
    write_lines(run / "episodes" / "put.jsonl", [record(n, success=n % 3 == 0) for n in range(2000)])
    for number, success in ((0, True), (1, False)):
        film = save_film(run / "videos", f"lift/ep{number:04d}", rollout(96, 96, success=success))
        told = replace(record(number, success=success, task="lift"), video=str(film.relative_to(run)))
        append_line(run / "episodes" / "lift.jsonl", vars(told))
    append_line(root / "run" / "stage2" / "metrics.jsonl", {"step": 10, "loss": 0.5})
    other = write_run(root / "other", simpler_records(TASKS, skill=0.3, policy="octo-base"))
    one, two = read_report(root / "run"), read_report(other)
    one = replace(
        one,
        against="other",
        comparison=compare_reports(one.evaluations, two.evaluations),
        real=against_real(two, published()),
    )
    return write_report(one)


def test_without_films_thousands_of_episodes_stay_below_two_megabytes(page):
    text = page.read_text()
    without = re.sub(r'"data:video/mp4;base64,[^"]*"', '""', text)
    assert text.count("data:video/mp4") == 2
    assert len(without.encode()) < 2_000_000
    assert len(text.encode()) > len(without.encode())


def test_the_page_names_no_address(page):
    text = re.sub(r"data:[a-z0-9/]+;base64,[^\"]*", "", page.read_text())
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<script|<link", text)


@needs_browser
@pytest.mark.optional
def test_a_browser_draws_it_and_asks_no_one(page, tmp_path):
    picture, asked = show(page, tmp_path)
    assert not asked
    colours = counted(picture)
    assert max(colours, key=lambda colour: colours[colour]) == (251, 251, 249)  # the paper of style.py
    for ink in ((28, 106, 134), (76, 157, 127), (243, 195, 168)):  # intervals, cells of success and failure
        assert colours[ink] > 500, ink


@needs_browser
@pytest.mark.optional
def test_in_the_dark_it_is_dark(page, tmp_path):
    picture, _ = show(page, tmp_path, "--blink-settings=preferredColorScheme=0")
    colours = counted(picture)
    assert max(colours, key=lambda colour: colours[colour]) == (20, 22, 24)


@needs_browser
@pytest.mark.optional
def test_this_would_see_a_page_that_asks(tmp_path):
    page = tmp_path / "asks.html"
    page.write_text('<img src="http://pictures.invalid/x.png">')
    assert show(page, tmp_path)[1] == {"http://pictures.invalid/x.png"}
