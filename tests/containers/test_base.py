from pathlib import Path

import pytest

from containers import base
from containers.base import Debian, base_tree, mirror_lines, tree_name
from stair.errors import StairError

TARGETS = """\
http://mirror/debian/|bookworm|main
http://mirror/debian/|bookworm|contrib
http://mirror/debian/|bookworm|main
http://mirror/debian/|bookworm-updates|main
http://other/debian-security/|bookworm-security|main
http://mirror/debian/|trixie|main
broken line
"""


def test_the_mirror_lines_are_those_of_the_suite_and_its_updates():
    assert mirror_lines(TARGETS, "bookworm") == [
        "deb http://mirror/debian/ bookworm main",
        "deb http://mirror/debian/ bookworm-updates main",
        "deb http://other/debian-security/ bookworm-security main",
    ]


def test_a_mirror_of_one_release_has_the_others():
    bookworm = "".join(line + "\n" for line in TARGETS.splitlines() if "trixie" not in line)
    assert mirror_lines(bookworm, "trixie") == [
        "deb http://mirror/debian/ trixie main",
        "deb http://mirror/debian/ trixie-updates main",
        "deb http://other/debian-security/ trixie-security main",
    ]
    assert mirror_lines(bookworm, "trixie-backports") == ["deb http://mirror/debian/ trixie-backports main"]
    assert mirror_lines("https://packages/apt|cloud-bookworm|main\n", "bookworm") == []


def test_another_suite_package_or_preference_is_another_tree_and_the_order_does_not_matter(tmp_path: Path):
    (tmp_path / "pref").write_text("Package: *\n")
    debians = [
        Debian("bookworm", ("a", "b")),
        Debian("bookworm", ("a",)),
        Debian("trixie", ("a",)),
        Debian("trixie", ("a",), ("bookworm",)),
        Debian("trixie", ("a",), ("bookworm",), tmp_path / "pref"),
    ]
    assert len({tree_name(debian) for debian in debians}) == len(debians)
    assert tree_name(Debian("bookworm", ("b", "a"))) == tree_name(debians[0])


def test_a_tree_that_is_there_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    made = tmp_path / tree_name(Debian("bookworm", ("a",)))
    made.mkdir()
    assert base_tree(tmp_path, Debian("bookworm", ("a",)), tmp_path / "log") == made


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(base, "read_targets", lambda: TARGETS)
    return folder


def test_a_tree_is_unpacked_without_what_names_the_host(tmp_path: Path, programs: Path):
    source = tmp_path / "source"
    for name in (
        "etc/apt/sources.list",
        "etc/hostname",
        "etc/os-release",
        "dev/null",
        "dev/sub/x",
        "usr/bin/python3",
    ):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    program(programs, "mmdebstrap", f'echo "$@" > {tmp_path}/words; tar -C {source} -c .')
    debian = Debian("bookworm", ("python3", "ca-certificates"), ("trixie",), tmp_path / "a pref")
    (tmp_path / "a pref").touch()
    tree = base_tree(tmp_path / "bases", debian, tmp_path / "log")
    files = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}
    assert files == {"etc/os-release", "etc/resolv.conf", "etc/hosts", "usr/bin/python3"}
    words = (tmp_path / "words").read_text()
    assert "--include=python3,ca-certificates" in words
    assert "bookworm - deb http://mirror/debian/ bookworm main" in words
    assert words.endswith("deb http://mirror/debian/ trixie main\n")
    assert f"cp '{tmp_path}/a pref' \"$1\"/etc/apt/preferences.d/stair" in words


def test_a_failed_mmdebstrap_leaves_no_tree_and_names_the_log(tmp_path: Path, programs: Path):
    program(programs, "mmdebstrap", "echo no such suite >&2; exit 3")
    with pytest.raises(StairError) as caught:
        base_tree(tmp_path / "bases", Debian("bookworm", ("python3",)), tmp_path / "log")
    assert str(tmp_path / "log") in caught.value.hint
    assert "no such suite" in (tmp_path / "log").read_text()
    assert list((tmp_path / "bases").iterdir()) == []


def test_without_mmdebstrap_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StairError, match="needs mmdebstrap") as caught:
        base_tree(tmp_path / "bases", Debian("bookworm", ("python3",)), tmp_path / "log")
    assert "--base registry" in caught.value.hint


def test_without_a_mirror_of_debian_nothing_is_started(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(base, "read_targets", lambda: "https://packages/apt|nodistro|main\n")
    program(programs, "mmdebstrap", f"touch {tmp_path}/started")
    with pytest.raises(StairError, match="no mirror that has Debian forky"):
        base_tree(tmp_path / "bases", Debian("forky", ("python3",)), tmp_path / "log")
    assert not (tmp_path / "started").exists()
