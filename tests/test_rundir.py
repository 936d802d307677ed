"""Files of a run folder are whole for whoever reads them, however many write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stair import rundir
from stair.errors import StairError
from stair.rundir import append_line, read_lines, write_whole


def test_a_line_cut_off_within_a_letter_is_skipped(tmp_path: Path):
    file = tmp_path / "lines.jsonl"
    for word in ("ä", "b"):
        append_line(file, {"word": word})
    with file.open("ab") as more:
        more.write('{"word": "ö'.encode()[:-1])
    assert list(read_lines(file)) == [{"word": "ä"}, {"word": "b"}]


def test_two_who_write_the_same_file_at_once_do_not_meet(tmp_path: Path, monkeypatch):
    """On two nodes of a cluster they may even have the same number."""
    file, sync = tmp_path / "x.json", os.fsync

    def write_another_in_the_middle(descriptor: int) -> None:
        sync(descriptor)
        monkeypatch.setattr(rundir.os, "fsync", sync)
        write_whole(file, "the other's")
        assert file.read_text() == "the other's"

    monkeypatch.setattr(rundir.os, "fsync", write_another_in_the_middle)
    write_whole(file, "mine")
    assert file.read_text() == "mine"
    assert os.listdir(tmp_path) == ["x.json"]


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch):
    file = tmp_path / "x.json"
    write_whole(file, "old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rundir.os, "fsync", fail)
    with pytest.raises(StairError, match="No space left"):
        write_whole(file, "new")
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.json"]
