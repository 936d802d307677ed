import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from containers import sources
from containers.sources import REPOSITORIES, Repository, lay_sources, none_fetched
from stair.errors import StairError


def git(folder: Path, *words: str) -> str:
    name = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(["git", *name, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def repository(folder: Path, wanted: Repository) -> Repository:
    """The same with the address and commit of a real repository made at `folder`."""
    folder.mkdir(parents=True)
    for name in ("package/code.py", "data/mesh.glb", "images/teaser.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(wanted.name)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    commit = git(folder, "rev-parse", "HEAD")
    (folder / "package" / "later.py").touch()
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "second")
    git(folder, "config", "uploadpack.allowAnySHA1InWant", "true")
    return replace(wanted, address=folder.as_uri(), commit=commit)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of SimplerEnv with its submodule; REPOSITORIES are these two."""
    outer = repository(tmp_path / "clone", REPOSITORIES[0])
    inner = repository(tmp_path / "clone" / REPOSITORIES[1].inside, REPOSITORIES[1])
    monkeypatch.setattr(sources, "REPOSITORIES", (outer, inner))
    (tmp_path / "simpler").mkdir()
    return tmp_path / "clone"


@pytest.mark.parametrize("named", [False, True], ids=["fetched", "from a clone"])
def test_the_fixed_commits_are_laid_without_assets(tmp_path: Path, clone: Path, named: bool):
    found = lay_sources(tmp_path / "simpler", clone if named else None)
    assert found == {each.argument: each.commit for each in sources.REPOSITORIES}
    files = {path.relative_to(tmp_path / "simpler").as_posix() for path in tmp_path.glob("simpler/*/*/*")}
    assert files == {
        "SimplerEnv/data/mesh.glb",
        "SimplerEnv/package/code.py",
        "ManiSkill2_real2sim/images/teaser.png",
        "ManiSkill2_real2sim/package/code.py",
    }
    assert {path.name for path in (tmp_path / "simpler").iterdir()} == {"SimplerEnv", "ManiSkill2_real2sim"}


def test_where_one_repository_is_out_of_reach_neither_is_laid(
    tmp_path: Path, clone: Path, monkeypatch: pytest.MonkeyPatch
):
    gone = replace(sources.REPOSITORIES[1], address=(tmp_path / "gone").as_uri())
    monkeypatch.setattr(sources, "REPOSITORIES", (sources.REPOSITORIES[0], gone))
    assert set(lay_sources(tmp_path / "simpler", None).values()) == {"absent"}
    assert lay_sources(tmp_path / "simpler", None) == none_fetched()
    assert list((tmp_path / "simpler").iterdir()) == []


def test_without_git_nothing_is_laid(tmp_path: Path, clone: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert lay_sources(tmp_path / "simpler", None) == none_fetched()


def test_a_clone_without_the_commit_is_refused(tmp_path: Path, clone: Path, monkeypatch: pytest.MonkeyPatch):
    lost = replace(sources.REPOSITORIES[1], commit="0" * 40)
    monkeypatch.setattr(sources, "REPOSITORIES", (sources.REPOSITORIES[0], lost))
    with pytest.raises(StairError, match="cannot give commit 000000000000") as caught:
        lay_sources(tmp_path / "simpler", clone)
    assert "--recurse-submodules" in caught.value.hint


def test_a_repository_that_does_not_give_the_commit_says_so(
    tmp_path: Path, clone: Path, monkeypatch: pytest.MonkeyPatch
):
    lost = replace(sources.REPOSITORIES[0], commit="0" * 40)
    monkeypatch.setattr(sources, "REPOSITORIES", (lost, sources.REPOSITORIES[1]))
    with pytest.raises(StairError, match="did not give commit") as caught:
        lay_sources(tmp_path / "simpler", None)
    assert "--simpler-env CLONE" in caught.value.hint
