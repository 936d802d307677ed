import json
import multiprocessing
import os
from pathlib import Path

import pytest

from stair.cluster import remembered
from stair.cluster.remembered import FileKey, recall, remember

KEY: FileKey = ("/a", 1, 2, 3, 4)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STAIR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_last_value_of_a_key_is_recalled_and_others_are_not():
    remember("x.jsonl", KEY, "old")
    remember("x.jsonl", KEY, "new")
    assert recall("x.jsonl", KEY) == "new"
    assert recall("x.jsonl", ("/a", 1, 2, 3, 5)) is None
    assert recall("y.jsonl", KEY) is None


def test_garbage_and_a_torn_last_line_are_stepped_over(cache: Path):
    remember("x.jsonl", KEY, "before")
    file = cache / "x.jsonl"
    file.write_bytes(b'\xff\xfe\n[1]\n"text"\n' + file.read_bytes() + b'{"key": ["/a", 1')
    assert recall("x.jsonl", KEY) == "before"
    remember("x.jsonl", KEY, "after the torn line")
    assert recall("x.jsonl", KEY) == "after the torn line"


@pytest.mark.parametrize("obstacle", ["file", "folder", "link"])
def test_a_place_that_cannot_be_written_is_an_empty_cache(cache: Path, obstacle: str):
    if obstacle == "file":  # where the folder should be
        cache.write_text("")
    elif obstacle == "folder":
        (cache / "x.jsonl").mkdir(parents=True)
    else:
        cache.mkdir()
        (cache / "x.jsonl").symlink_to(cache / "elsewhere")
    remember("x.jsonl", KEY, "value")
    assert recall("x.jsonl", KEY) is None
    assert not (cache / "elsewhere").exists()


def test_what_others_could_have_written_is_not_believed(cache: Path):
    remember("x.jsonl", KEY, "value")
    (cache / "x.jsonl").chmod(0o666)
    assert recall("x.jsonl", KEY) is None


def test_a_cache_begins_anew_when_it_has_grown_too_long(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remembered, "LONGEST_BYTES", 2000)
    for count in range(200):
        remember("x.jsonl", ("/a", count, 0, 0, 0), "v" * 20)
    assert (cache / "x.jsonl").stat().st_size < 2200
    assert recall("x.jsonl", ("/a", 199, 0, 0, 0)) == "v" * 20


def _write_many(writer: int) -> None:
    for count in range(100):
        remember("x.jsonl", ("/a", writer, count, 0, 0), f"{writer}-{count}")


def test_writers_beside_each_other_lose_no_line(cache: Path):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(_write_many, range(4))
    lines = [line for line in (cache / "x.jsonl").read_text().splitlines() if line]
    assert len(lines) == 400
    assert {json.loads(line)["value"] for line in lines} == {f"{w}-{c}" for w in range(4) for c in range(100)}


def test_the_cache_is_for_its_owner_only(cache: Path):
    remember("x.jsonl", KEY, "value")
    assert cache.stat().st_mode & 0o777 == 0o700
    assert (cache / "x.jsonl").stat().st_mode & 0o777 == 0o600


def test_the_folder_is_in_the_users_cache_unless_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("STAIR_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert remembered.cache_folder() == Path("/somewhere/stair")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert remembered.cache_folder() == Path(os.path.expanduser("~/.cache/stair"))
