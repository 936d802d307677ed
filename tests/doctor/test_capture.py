"""Captures are written whole and read with a clear word about what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stair.doctor.capture import plain, read_captures, write_capture
from stair.doctor.visit import Visit
from stair.errors import StairError, UsageError

VISITS = (Visit("n1", "compute", {"probe": 2}), Visit("n2", "compute", missing={"node": "down"}))


def test_visits_of_many_files_come_back_in_their_order(tmp_path: Path):
    for number, visit in enumerate(VISITS):
        write_capture(tmp_path / f"{number}.json", plain([visit]))
    (tmp_path / "sheet.json").write_text(json.dumps({"probe": 2, "host": "bare"}))
    files = [tmp_path / name for name in ("1.json", "0.json", "sheet.json")]
    assert read_captures(files) == (VISITS[1], VISITS[0], Visit("bare", host={"probe": 2, "host": "bare"}))


def test_what_a_run_folder_keeps_can_be_read(tmp_path: Path):
    file = tmp_path / "doctor.json"
    file.write_text(json.dumps({"stair_doctor": 1, "visits": plain(VISITS), "findings": []}))
    assert read_captures([file]) == VISITS


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        ("{", "is no JSON"),
        ("[]", "holds no visit of stair-doctor"),
        ('{"visits": []}', "holds no visit of stair-doctor"),
        ('{"stair_doctor": 7, "visits": []}', "newer stair-doctor"),
        ('{"stair_doctor": 1, "visits": [{"stair_doctor": 7}]}', "newer stair-doctor"),
        ('{"stair_doctor": 1, "visits": [3]}', "holds no visit"),
    ],
)
def test_a_file_that_is_no_capture_is_refused_by_name(content: str | None, said: str, tmp_path: Path):
    file = tmp_path / "cap.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError, match=rf"cap\.json .*{said}|cap\.json {said}"):
        read_captures([file])


def test_a_capture_that_cannot_be_written_leaves_nothing(tmp_path: Path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(StairError, match="cannot be written"):
        write_capture(tmp_path / "taken", plain(VISITS))
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_failing_write_keeps_the_former_file(tmp_path: Path):
    file = tmp_path / "cap.json"
    write_capture(file, plain(VISITS))
    with pytest.raises(TypeError):
        write_capture(file, [object()])
    assert read_captures([file]) == VISITS
    assert [path.name for path in tmp_path.iterdir()] == ["cap.json"]
