import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from stair.cluster.image import ImageFacts, check_image, inspect_image
from tests.cluster.sifs import write_sif

LABELS = {
    "stair.kind": "train",
    "stair.variant": "cpu",
    "stair.version": "0.10.0",
    "stair.python": "3.11.2",
    "stair.torch": "2.13.0+cpu",
}
GOOD = ImageFacts("/i.sif", 100, architecture="amd64", labels=LABELS, labels_known=True)


@pytest.fixture(autouse=True)
def no_apptainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH and an empty cache; returns the folder of the PATH."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.delenv("APPTAINER", raising=False)
    monkeypatch.setenv("STAIR_CACHE", str(tmp_path / "cache"))
    return programs


def scripted_apptainer(folder: Path, prints: str, status: int = 0) -> Path:
    """A stand-in that notes each call in `calls` beside it."""
    program = folder / "apptainer"
    program.write_text(f"#!/bin/sh\necho \"$@\" >> {folder}/calls\nprintf '%s' '{prints}'\nexit {status}\n")
    program.chmod(0o755)
    return program


def ids(facts: ImageFacts, **wishes) -> list[str]:
    return [problem.id for problem in check_image(facts, **{"machine": "x86_64", **wishes})]


def test_an_image_tells_its_labels_without_apptainer(tmp_path: Path):
    facts = inspect_image(write_sif(tmp_path / "i.sif", LABELS))
    assert (facts.kind, facts.variant, facts.python) == ("train", "cpu", "3.11.2")
    assert (facts.torch, facts.stair_version, facts.architecture) == ("2.13.0+cpu", "0.10.0", "amd64")
    assert ids(facts) == []


def test_looking_costs_a_few_milliseconds(tmp_path: Path):
    path = write_sif(tmp_path / "i.sif", LABELS)
    started = time.process_time()
    for _ in range(20):
        inspect_image(path)
    assert (time.process_time() - started) / 20 < 0.01


def test_an_old_image_is_asked_about_once(tmp_path: Path, no_apptainer: Path):
    path = write_sif(tmp_path / "i.sif", None)
    scripted_apptainer(no_apptainer, '{"data": {"attributes": {"labels": {"stair.kind": "eval"}}}}')
    assert inspect_image(path).kind == inspect_image(path).kind == "eval"
    assert (no_apptainer / "calls").read_text() == f"inspect --json --labels {path}\n"


@pytest.mark.parametrize("answer", [None, ("", 1), ("no json", 0), ('{"data": []}', 0)])
def test_an_old_image_without_an_answer_could_not_be_checked(tmp_path: Path, no_apptainer: Path, answer):
    if answer:
        scripted_apptainer(no_apptainer, *answer)
    facts = inspect_image(write_sif(tmp_path / "i.sif", None))
    (problem,) = check_image(facts, machine="x86_64")
    assert (problem.id, problem.certain) == ("image-unknown", False)
    assert "could not check" in problem.what


def test_a_missing_image_and_a_folder_and_a_text_are_told_apart(tmp_path: Path):
    (tmp_path / "text").write_text("hello, I am no image")
    assert ids(inspect_image(tmp_path / "absent.sif")) == ["image-missing"]
    assert ids(inspect_image(tmp_path)) == ["image-not-sif"]
    assert ids(inspect_image(tmp_path / "text")) == ["image-not-sif"]


def test_a_pipe_in_its_place_does_not_hang(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    assert ids(inspect_image(tmp_path / "pipe")) == ["image-not-sif"]


def test_a_copy_that_was_cut_off_is_refused_with_how_much_is_there(tmp_path: Path):
    path = write_sif(tmp_path / "i.sif", LABELS)
    size = path.stat().st_size
    os.truncate(path, size - 10)
    (problem,) = check_image(inspect_image(path), machine="x86_64")
    assert problem.id == "image-truncated"
    assert f"{size - 10:,} bytes of {size:,}" in problem.what


@pytest.mark.parametrize(
    ("facts", "wishes", "expected"),
    [
        (GOOD, {}, []),
        (GOOD, {"machine": "aarch64"}, ["image-architecture"]),
        (replace(GOOD, architecture="arm64"), {"machine": "aarch64"}, []),
        (replace(GOOD, architecture=""), {}, ["image-unknown"]),
        (GOOD, {"kind": "eval"}, ["image-kind"]),
        (replace(GOOD, labels={}), {}, ["image-kind"]),
        (replace(GOOD, labels={**LABELS, "stair.python": ""}), {}, ["image-python"]),
        (replace(GOOD, labels={**LABELS, "stair.python": "3.9.20"}), {}, ["image-python"]),
        (replace(GOOD, labels={**LABELS, "stair.python": "3.13.0"}), {}, ["image-python"]),
        (replace(GOOD, labels={**LABELS, "stair.python": "3.12.9"}), {}, []),
        (GOOD, {"needs_stair": "0.9.5"}, []),
        (GOOD, {"needs_stair": "0.10.0"}, []),
        (GOOD, {"needs_stair": "0.11"}, ["image-stair"]),
        (GOOD, {"gpus": True}, ["image-variant"]),
        (replace(GOOD, labels={**LABELS, "stair.variant": "cuda"}), {"gpus": True}, []),
        (GOOD, {"machine": "aarch64", "kind": "eval"}, ["image-architecture", "image-kind"]),
    ],
)
def test_what_is_refused(facts: ImageFacts, wishes: dict, expected: list[str]):
    assert ids(facts, **wishes) == expected


def test_every_problem_says_what_why_and_cure(tmp_path: Path):
    problems = [
        *check_image(inspect_image(tmp_path / "absent"), machine="x86_64"),
        *check_image(ImageFacts("/x", trouble="unreadable", detail="Permission denied"), machine="x86_64"),
        *check_image(GOOD, machine="riscv64", needs_stair="9", gpus=True),
        *check_image(GOOD, machine="x86_64", kind="eval"),
    ]
    assert len(problems) == 6
    assert all(problem.what and problem.why and problem.cure for problem in problems)
