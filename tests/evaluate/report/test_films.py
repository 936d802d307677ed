"""Films on the page: failures first, embedded while there is room, linked past that."""

from dataclasses import replace

import pytest

from stair.evaluate.report import films
from stair.evaluate.report.films import FILM_BYTES, Gallery
from tests.evaluate.report.test_reading import Page
from tests.evaluate.test_episodes import record


def filmed(root, number, size=1000, *, plot=True, **told):
    name = f"videos/put/ep{number:04d}"
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    if size:
        (root / f"{name}.mp4").write_bytes(b"\0" * size)
    if plot:
        (root / f"{name}.png").write_bytes(b"plot")
    return replace(record(number, **told), video=f"{name}.mp4")


def kinds(links):
    return [link.partition(";")[0] for link in links]


def test_failures_come_first_then_the_lost_then_errors_then_successes(tmp_path):
    records = [
        filmed(tmp_path, 0, success=True),
        filmed(tmp_path, 1, error="lost"),
        filmed(tmp_path, 2, ever=True),
        filmed(tmp_path, 3),
    ]
    page = Page(Gallery(tmp_path).draw(records))
    words = " ".join(page.text)
    order = [words.index(f"put/ep{number:04d}") for number in (3, 2, 1, 0)]
    assert order == sorted(order)
    assert "1 succeeded, then lost it before the last step" in words
    assert page.tags.count("video") == page.tags.count("img") == 4


def test_films_are_embedded_with_their_plots_or_linked(tmp_path):
    records = [
        filmed(tmp_path, 0),
        filmed(tmp_path, 1, size=FILM_BYTES + 1),
        filmed(tmp_path, 2, size=0, plot=False),
    ]
    links = Page(Gallery(tmp_path).draw(records)).links
    assert kinds(links) == [
        "data:video/mp4",
        "data:image/png",
        "videos/put/ep0001.mp4",
        "data:image/png",
        "videos/put/ep0002.mp4",
    ]


def test_the_rooms_of_films_and_of_plots_end_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(films, "PAGE_BYTES", 3000)
    monkeypatch.setattr(films, "PICTURE_BYTES", 10)
    links = Page(Gallery(tmp_path).draw([filmed(tmp_path, n) for n in range(3)])).links
    assert kinds(links) == [
        "data:video/mp4",
        "data:image/png",
        "data:video/mp4",
        "videos/put/ep0001.png",
        "videos/put/ep0002.mp4",
        "videos/put/ep0002.png",
    ]


@pytest.mark.parametrize(("count", "playing"), [(12, 12), (13, 0)])
def test_only_a_few_films_play_by_themselves(tmp_path, count, playing):
    page = Gallery(tmp_path).draw([filmed(tmp_path, n) for n in range(count)])
    assert page.count("autoplay") == playing


def test_nothing_filmed_is_no_gallery(tmp_path):
    assert Gallery(tmp_path).draw([record(0)]) == ""
