import hashlib
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from stair.cluster import digest
from stair.cluster.digest import file_digest, folder_digest
from stair.errors import StairError

LARGE = 2 << 20


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STAIR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are remembered at once, as if they had been left alone for a while."""
    monkeypatch.setattr(digest, "SETTLED_S", -3600.0)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of every file that was really read."""
    sizes: list[int] = []
    really = digest._read

    def read(file, progress, size):
        sizes.append(size)
        return really(file, progress, size)

    monkeypatch.setattr(digest, "_read", read)
    return sizes


def large_file(folder: Path) -> Path:
    path = folder / "image.sif"
    path.write_bytes(os.urandom(LARGE))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_large_file_is_read_once(tmp_path: Path, settled: None, reads: list[int]):
    path = large_file(tmp_path)
    assert file_digest(path) == file_digest(path) == sha256(path)
    assert reads == [LARGE]


def test_fresh_reads_whatever_is_remembered(tmp_path: Path, settled: None, reads: list[int]):
    path = large_file(tmp_path)
    file_digest(path)
    assert file_digest(path, fresh=True) == sha256(path)
    assert reads == [LARGE, LARGE]


def wait_for_a_tick(folder: Path) -> None:
    """Returns when a change gets another time than the one before: file systems count milliseconds."""
    probe = folder / "tick"
    probe.touch()
    first = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == first:
        probe.touch()


def test_a_flipped_byte_behind_a_restored_mtime_is_noticed(tmp_path: Path, settled: None):
    path = large_file(tmp_path)
    before, facts = file_digest(path), path.stat()
    wait_for_a_tick(tmp_path)
    with path.open("r+b") as file:
        file.seek(1_000_000)
        byte = file.read(1)[0]
        file.seek(1_000_000)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert path.stat().st_mtime_ns == facts.st_mtime_ns
    assert path.stat().st_size == facts.st_size
    assert file_digest(path) == sha256(path) != before


def test_a_file_swapped_for_another_of_its_size_and_time_is_noticed(tmp_path: Path, settled: None):
    path = large_file(tmp_path)
    before, facts = file_digest(path), path.stat()
    other = tmp_path / "other"
    other.write_bytes(os.urandom(LARGE))
    os.utime(other, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    os.replace(other, path)
    assert file_digest(path) == sha256(path) != before


@pytest.mark.parametrize(("ago_s", "times"), [(0.0, 2), (2.9, 2), (3.1, 1)])
def test_a_file_touched_just_now_is_not_remembered(
    tmp_path: Path, reads: list[int], monkeypatch: pytest.MonkeyPatch, ago_s: float, times: int
):
    path = large_file(tmp_path)
    now = path.stat().st_ctime + ago_s
    monkeypatch.setattr(digest, "time", SimpleNamespace(time=lambda: now))
    file_digest(path)
    file_digest(path)
    assert reads == [LARGE] * times


def test_small_files_leave_the_cache_alone(tmp_path: Path, cache: Path, settled: None):
    (tmp_path / "small").write_bytes(b"abc")
    assert file_digest(tmp_path / "small") == hashlib.sha256(b"abc").hexdigest()
    assert not cache.exists()


def test_an_unusable_cache_costs_only_time(tmp_path: Path, cache: Path, settled: None, reads: list[int]):
    cache.write_text("a file where the folder should be")
    path = large_file(tmp_path)
    assert file_digest(path) == file_digest(path) == sha256(path)
    assert reads == [LARGE, LARGE]


def test_a_remembered_value_that_is_no_digest_is_not_believed(tmp_path: Path, cache: Path, settled: None):
    path = large_file(tmp_path)
    file_digest(path)
    file = cache / "digests.jsonl"
    file.write_text(file.read_text().replace(sha256(path), "../../etc"))
    assert file_digest(path) == sha256(path)


def test_progress_is_told_for_very_large_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, seen = large_file(tmp_path), []
    file_digest(path, progress=lambda done, total: seen.append((done, total)))
    assert seen == []
    monkeypatch.setattr(digest, "PROGRESS_FROM_BYTES", LARGE)
    monkeypatch.setattr(digest, "BLOCK_BYTES", LARGE // 2)
    file_digest(path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(LARGE // 2, LARGE), (LARGE, LARGE)]


def test_a_file_that_grows_while_it_is_read_has_no_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = large_file(tmp_path)
    monkeypatch.setattr(digest, "PROGRESS_FROM_BYTES", 0)

    def grow(done: int, total: int) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    monkeypatch.setattr(digest, "BLOCK_BYTES", 2 * LARGE)
    with pytest.raises(StairError, match="changed while it was read"):
        file_digest(path, progress=lambda done, total: grow(done, total) if done == LARGE else None)


@pytest.mark.parametrize("name", ["absent", "folder"])
def test_what_cannot_be_read_is_an_explained_error(tmp_path: Path, name: str):
    (tmp_path / "folder").mkdir()
    with pytest.raises(StairError, match="cannot read"):
        file_digest(tmp_path / name)


def test_a_folder_is_a_digest_per_file_in_order(tmp_path: Path):
    tree = tmp_path / "tree"
    (tree / "b").mkdir(parents=True)
    for name, text in (("b/two.py", "2"), ("one.py", "1"), ("notes.txt", "n")):
        (tree / name).write_text(text)
    found = folder_digest(tree, ("**/*.py",))
    assert list(found.items()) == [
        ("b/two.py", hashlib.sha256(b"2").hexdigest()),
        ("one.py", hashlib.sha256(b"1").hexdigest()),
    ]
    assert set(folder_digest(tree)) == {"b/two.py", "one.py", "notes.txt"}


def test_a_dangling_link_in_a_folder_is_an_error_and_no_folder_too(tmp_path: Path):
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StairError, match="gone"):
        folder_digest(tmp_path)
    with pytest.raises(StairError, match="no folder"):
        folder_digest(tmp_path / "absent")
