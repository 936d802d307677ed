import json
from pathlib import Path

import pytest

from stair.cluster.sif import NotASif, Truncated, read_sif
from tests.cluster.sifs import write_sif


def test_architecture_and_labels_are_read(tmp_path: Path):
    path = write_sif(tmp_path / "a.sif", {"stair.kind": "train"}, architecture=b"04\0")
    found = read_sif(path)
    assert (found.architecture, found.labels) == ("arm64", {"stair.kind": "train"})


def test_a_file_without_labels_beside_its_file_system_says_so(tmp_path: Path):
    assert read_sif(write_sif(tmp_path / "a.sif", None)).labels is None


def test_other_json_beside_the_labels_is_stepped_over(tmp_path: Path):
    path = write_sif(
        tmp_path / "a.sif", {"a": "b"}, before=[b"no json", json.dumps([1]).encode(), b"[" * 100_000]
    )
    assert read_sif(path).labels == {"a": "b"}


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\0" * 4096, b"hsqs" + b"\0" * 4096])
def test_other_files_are_no_sif(tmp_path: Path, content: bytes):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(NotASif):
        read_sif(tmp_path / "x")


def test_every_shortened_copy_is_refused(tmp_path: Path):
    whole = write_sif(tmp_path / "a.sif", {"stair.kind": "train"}).read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises((Truncated, NotASif)):
            read_sif(tmp_path / "cut")


def test_a_table_of_contents_that_makes_no_sense_is_refused(tmp_path: Path):
    whole = bytearray(write_sif(tmp_path / "a.sif", {}).read_bytes())
    for place in range(64, 128):  # every number of the header, a byte at a time
        broken = bytearray(whole)
        broken[place] ^= 0xFF
        (tmp_path / "broken").write_bytes(broken)
        try:
            read_sif(tmp_path / "broken")
        except (NotASif, Truncated):
            continue
        assert not 88 <= place < 104, f"byte {place} places the table, and was believed"
