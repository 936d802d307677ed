"""The run folder's own copy of the code: whole, read-only, told from any other, and without secrets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stair.errors import StairError
from stair.rundir import RunDir
from stair.submit import snapshot
from stair.submit.snapshot import describe_code, record_changes, take_snapshot, verify_snapshot


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A small package in a git checkout with one commit."""
    package = tmp_path / "checkout" / "stair"
    (package / "recipes").mkdir(parents=True)
    (package / "__init__.py").write_text("VERSION = 1\n")
    (package / "train.py").write_text("STEPS = 1\n")
    (package / "recipes" / "demo.yaml").write_text("steps: 1\n")
    git = ["git", "-C", str(package.parent), "-c", "user.name=x", "-c", "user.email=x@x"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *words], check=True, timeout=120)
    return package


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")


def test_a_snapshot_holds_every_file_and_says_where_it_is_from(package: Path, run: RunDir):
    facts = describe_code(package)
    place = take_snapshot(run, facts)
    assert place == run.path / "code" / facts.digest[:16]
    assert sorted(facts.files) == ["__init__.py", "recipes/demo.yaml", "train.py"]
    assert describe_code(place / "stair").digest == facts.digest
    origin = json.loads((place / "origin.json").read_text())
    assert (len(origin["commit"]), origin["dirty"], origin["files"]) == (40, False, facts.files)
    assert not (place / "changes.diff").exists()
    assert not [path for path in place.rglob("*") if path.is_file() and path.stat().st_mode & 0o222]


def test_our_own_code_runs_from_its_snapshot(run: RunDir):
    place = take_snapshot(run, describe_code())
    code = "import stair, stair.submit.snapshot; print(stair.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == str(place / "stair" / "__init__.py")
    assert "recipes/demo.yaml" in describe_code().files


def test_caches_and_hidden_files_are_no_code(package: Path):
    before = describe_code(package).digest
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "train.cpython-311.pyc").write_bytes(b"x")
    (package / "train.pyc").write_bytes(b"x")
    (package / ".train.py.swp").write_bytes(b"x")
    assert describe_code(package).digest == before
    (package / "recipes" / "demo.yaml").write_text("steps: 2\n")
    assert describe_code(package).digest != before


def test_a_snapshot_that_is_there_is_used_again_and_other_code_gets_its_own(package: Path, run: RunDir):
    first = take_snapshot(run, describe_code(package))
    touched = (first / "origin.json").stat().st_ino
    assert take_snapshot(run, describe_code(package)) == first
    assert (first / "origin.json").stat().st_ino == touched
    (package / "train.py").write_text("STEPS = 2\n")
    second = take_snapshot(run, describe_code(package))
    assert second != first
    assert (first / "stair" / "train.py").read_text() == "STEPS = 1\n"


def test_half_a_copy_and_an_abandoned_stage_are_swept(package: Path, run: RunDir):
    facts = describe_code(package)
    half = run.path / "code" / facts.digest[:16] / "stair"
    stage = run.path / "code" / ".abc.host.1.partial"
    fresh = run.path / "code" / ".abc.host.2.partial"
    for folder in (half, stage, fresh):
        folder.mkdir(parents=True)
    os.utime(stage, (1, 1))
    verify_snapshot(take_snapshot(run, facts), facts.digest)
    assert not stage.exists()
    assert fresh.exists()  # somebody may be at it


def test_senders_at_the_same_time_all_get_a_whole_copy(package: Path, run: RunDir):
    facts, places = describe_code(package), []

    def send() -> None:
        place = take_snapshot(run, facts)
        verify_snapshot(place, facts.digest)
        places.append(place)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(places) == 8
    assert [path.name for path in (run.path / "code").iterdir()] == [facts.digest[:16]]


@pytest.mark.parametrize(
    ("change", "said"), [("edit", "was changed"), ("remove", "is missing"), ("add", "was added")]
)
def test_a_changed_copy_is_refused_with_the_file_s_name(package: Path, run: RunDir, change: str, said: str):
    facts = describe_code(package)
    place = take_snapshot(run, facts)
    file = place / "stair" / "train.py"
    if change == "edit":
        file.chmod(0o644)
        file.write_bytes(b"STEPS = 3\n")
    elif change == "remove":
        file.unlink()
    else:
        file = place / "stair" / "extra.py"
        file.write_text("")
    with pytest.raises(StairError, match=f"{file.name} {said}"):
        verify_snapshot(place, facts.digest)
    with pytest.raises(StairError, match=said):
        take_snapshot(run, facts)


def test_a_copy_that_is_gone_or_of_another_plan_is_refused(package: Path, run: RunDir):
    place = take_snapshot(run, describe_code(package))
    with pytest.raises(StairError, match="other code"):
        verify_snapshot(place, "0" * 64)
    with pytest.raises(StairError, match="no whole copy"):
        verify_snapshot(run.path / "code" / "nothing", "0" * 64)


def test_code_that_changes_while_it_is_copied_is_refused(package: Path, run: RunDir):
    facts = describe_code(package)
    (package / "train.py").write_text("STEPS = 2\n")
    with pytest.raises(StairError, match="changed while it was copied"):
        take_snapshot(run, facts)
    assert list((run.path / "code").iterdir()) == []


def test_a_run_folder_that_cannot_be_written_is_an_expected_failure(package: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StairError, match="cannot make folder"):
        take_snapshot(RunDir(tmp_path / "file"), describe_code(package))


def test_changes_are_recorded_without_what_may_be_secret(
    package: Path, run: RunDir, monkeypatch: pytest.MonkeyPatch
):
    canary = "c4nary-0123456789"
    monkeypatch.setenv("MY_TOKEN", canary)
    checkout = package.parent
    for name in (".env", "deploy.pem", "my-token.txt"):
        (checkout / name).write_text("old\n")
    subprocess.run(["git", "-C", str(checkout), "add", "."], check=True, timeout=120)
    for name in (".env", "deploy.pem", "my-token.txt"):
        (checkout / name).write_text("private\n")
    (package / "train.py").write_text(f"STEPS = 2  # {canary}\n")
    (package / "tokens.py").write_text("private\n")
    (checkout / ".gitignore").write_text("ignored\n")
    (checkout / "ignored").write_text("private\n")
    place = take_snapshot(run, describe_code(package))
    recorded = (place / "changes.diff").read_text()
    assert "+STEPS = 2  # [MY_TOKEN not shown]" in recorded
    assert "# changed, content not recorded: 'deploy.pem'" in recorded
    assert "# not in git: 'stair/tokens.py'" in recorded
    assert "private" not in recorded
    assert canary not in recorded
    assert json.loads((place / "origin.json").read_text())["dirty"] is True


def test_an_endless_diff_is_cut(package: Path, monkeypatch: pytest.MonkeyPatch):
    (package / "train.py").write_text("x = 1\n" * 1000)
    monkeypatch.setattr(snapshot, "LONGEST_DIFF", 100)
    assert "more signs are not recorded" in record_changes(package.parent)
