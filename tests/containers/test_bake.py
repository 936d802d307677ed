"""The order of a build and how it fails, with a stand-in for Apptainer; test_train_image has the real one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from containers import bake as baking
from containers.bake import bake, lay_beside, read_origin
from containers.order import HERE, Order
from stair.errors import StairError

APPTAINER = """#!/bin/sh
# builds a file of its arguments, tests as TEST says
command=$1; shift
if [ "$command" = build ]; then
    for word; do image=$before; before=$word; done  # the last but one
    ls -p > "$WITNESS/beside"; printf '%s\\n' "$@" > "$WITNESS/words"; env > "$WITNESS/env"
    cat "$WITNESS/output" 2>/dev/null
    echo "STEP pip 7"; echo "INFO:    Creating SIF file..."
    [ "${BUILD:-0}" = 0 ] || exit "$BUILD"
    echo image > "$image"
else
    echo "last line of the test"; exit "${TEST:-0}"
fi
"""


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment for bake whose APPTAINER is the stand-in; its witness is the folder of the same name."""
    program = tmp_path / "apptainer"
    program.write_text(APPTAINER)
    program.chmod(0o755)
    for name in ("witness", "tmp"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(
        baking.machine, "pip_listing", lambda: "global.index-url='https://me:secret@index/simple'"
    )
    monkeypatch.setattr(baking.machine, "check_space", lambda *_, **__: None)
    monkeypatch.setattr(baking.machine, "check_processor", lambda: None)
    return {
        "APPTAINER": str(program),
        "APPTAINER_TMPDIR": str(tmp_path / "tmp"),
        "APPTAINER_BIND": "/scratch",
        "WITNESS": str(tmp_path / "witness"),
        "PATH": "/usr/bin:/bin",
        "SOURCE_DATE_EPOCH": "0",
    }


def order(tmp_path: Path, **changes) -> Order:
    return Order(**{"variant": "cpu", "output": tmp_path / "out" / "i.sif", **changes})


def test_an_image_gets_its_name_after_its_test(tmp_path: Path, environment: dict[str, str]):
    baked = bake(order(tmp_path), environment)
    assert (tmp_path / "out" / "i.sif").read_text() == "image\n"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"i.sif", "i.log"}
    assert baked.bytes == 6
    assert baked.seconds["build pip"] == 7
    assert list(baked.seconds) == ["check", "build pip", "build", "test", "digest"]
    assert baked.arguments["date"] == "1970-01-01T00:00:00Z"
    assert json.dumps(baked.as_json())
    assert "last line of the test" in Path(baked.log).read_text()


def test_what_apptainer_is_told(tmp_path: Path, environment: dict[str, str]):
    bake(order(tmp_path, compression="gzip", attention="none"), environment)
    witness = tmp_path / "witness"
    words = (witness / "words").read_text().splitlines()
    assert "--notest" in words
    assert words[words.index("--mksquashfs-args") + 1].startswith("-comp gzip")
    assert words[-1] == "train.def"
    assert {"variant=cpu", "bootstrap=docker", "from=debian:bookworm-slim"} <= set(words)
    beside = set((witness / "beside").read_text().split())
    assert {"train.def", "train.lock", "attention.lock", "selftest.py", "stair/"} <= beside
    variables = (witness / "env").read_text()
    assert "APPTAINERENV_PIP_CONFIG_FILE=/mnt/pip.conf" in variables
    assert "APPTAINER_BIND=" not in variables


def test_an_evaluation_image_is_made_without_simpler_env_where_it_is_out_of_reach(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(tmp_path))  # no git there
    baked = bake(order(tmp_path, variant="full"), environment)
    assert "sources" in baked.seconds
    witness = tmp_path / "witness"
    words = set((witness / "words").read_text().splitlines())
    assert {"eval.def", "variant=full", "environments=ms3 sapien2", "simpler_env=absent"} <= words
    beside = set((witness / "beside").read_text().split())
    assert {"eval.def", "eval.pref", "icd/", "locks/", "selftest_eval.py", "simpler/", "stair/"} <= beside

    baked = bake(order(tmp_path, variant="ms3", force=True), environment)
    assert "sources" not in baked.seconds
    assert {"variant=ms3", "environments=ms3"} <= set((witness / "words").read_text().splitlines())


def test_nothing_is_left_in_the_work_folder(tmp_path: Path, environment: dict[str, str]):
    bake(order(tmp_path), environment)
    with pytest.raises(StairError):
        bake(order(tmp_path, force=True), {**environment, "BUILD": "255"})
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_failed_self_test_keeps_the_image_under_another_name(tmp_path: Path, environment: dict[str, str]):
    bake(order(tmp_path), environment)
    (tmp_path / "out" / "i.sif").write_text("the old one")
    with pytest.raises(StairError, match="self-test failed") as caught:
        bake(order(tmp_path, force=True), {**environment, "TEST": "1"})
    assert "last line of the test" in caught.value.what
    assert "i.failed.sif" in caught.value.hint
    assert "i.log" in caught.value.hint
    assert (tmp_path / "out" / "i.failed.sif").read_text() == "image\n"
    assert (tmp_path / "out" / "i.sif").read_text() == "the old one"


def test_a_failed_build_shows_its_last_lines_and_leaves_nothing(tmp_path: Path, environment: dict[str, str]):
    (tmp_path / "witness" / "output").write_text("E: something broke\n")
    with pytest.raises(StairError, match="ended with 255") as caught:
        bake(order(tmp_path), {**environment, "BUILD": "255"})
    assert "something broke" in caught.value.what
    assert "index/simple" not in caught.value.hint
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"i.log"}


def test_an_unreachable_index_prints_what_pip_was_given(tmp_path: Path, environment: dict[str, str]):
    (tmp_path / "witness" / "output").write_text(
        "ERROR: No matching distribution found for torch==2.13.0+cpu\n"
    )
    with pytest.raises(StairError) as caught:
        bake(order(tmp_path), {**environment, "BUILD": "255"})
    assert "index-url = https://***@index/simple" in caught.value.hint
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "cure"),
    [
        ("FATAL: conveyor failed to get: Get ...: no such host", "--base debian"),
        ("OSError: [Errno 28] No space left on device", "--tmp FOLDER"),
    ],
)
def test_known_failures_name_their_cure(tmp_path: Path, environment: dict[str, str], line: str, cure: str):
    (tmp_path / "witness" / "output").write_text(line + "\n")
    with pytest.raises(StairError) as caught:
        bake(order(tmp_path), {**environment, "BUILD": "255"})
    assert cure in caught.value.hint


def test_what_is_there_is_not_built_again_unless_forced(tmp_path: Path, environment: dict[str, str]):
    bake(order(tmp_path), environment)
    with pytest.raises(StairError, match="exists already") as caught:
        bake(order(tmp_path), environment)
    assert "--force" in caught.value.hint
    bake(order(tmp_path, force=True), environment)


def test_a_work_folder_that_is_not_there_is_told(tmp_path: Path, environment: dict[str, str]):
    with pytest.raises(StairError, match="no folder"):
        bake(order(tmp_path), environment, tmp=tmp_path / "absent")


def test_the_date_is_source_date_epoch_or_now():
    assert read_origin({"SOURCE_DATE_EPOCH": "1700000000"}).date == "2023-11-14T22:13:20Z"
    assert read_origin({}).date > "2024"
    with pytest.raises(StairError, match="SOURCE_DATE_EPOCH"):
        read_origin({"SOURCE_DATE_EPOCH": "yesterday"})


def test_the_package_is_copied_without_compiled_files(tmp_path: Path):
    lay_beside(Order(), tmp_path)
    names = {path.name for path in (tmp_path / "stair").rglob("*")}
    assert {"__init__.py", "recipes", "trainer.py"} <= names
    assert not {name for name in names if name.endswith(".pyc") or name == "__pycache__"}


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["serve"],
        ["train", "--variant", "rocm"],
        ["train", "--variant", "ms3"],
        ["eval", "--variant", "cuda"],
        ["eval", "--attention", "xformers"],
        ["eval", "--variant", "ms3", "--simpler-env", "clone"],
        ["train", "--simpler-env", "clone"],
        ["train", "--compression", "xz"],
        ["train", "--nonsense"],
        ["train", "--variant", "cpu", "--attention", "xformers"],
    ],
)
def test_bad_arguments_exit_with_2(words: list[str]):
    done = subprocess.run([sys.executable, str(HERE / "build"), *words], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_runs_on_a_bare_python_from_anywhere(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(HERE / "build"), "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "--variant" in done.stdout
