"""SimplerEnv and its environments: no package index has them, so they come from their repositories.

Takes a folder to fill and perhaps a clone, hands on which commit of each lies there. The surprise: a build
host that reaches neither gets an image all the same, without them; its labels say so.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from stair.console import say
from stair.errors import StairError

REACH_S = 30
"""How long a repository may take to say what it has."""
FETCH_S = 1800
ABSENT = "absent"


@dataclass(frozen=True)
class Repository:
    """A commit of a public repository."""

    name: str
    argument: str
    """Of the definition, and of the label."""
    address: str
    commit: str
    inside: str
    """Where a clone of SimplerEnv has it."""
    left_out: tuple[str, ...] = ()


REPOSITORIES = (
    Repository(
        "SimplerEnv",
        "simpler_env",
        "https://github.com/simpler-env/SimplerEnv",
        "4ab7178e83e84ee06894034ec6dbf9e7aad1e882",  # main, 2025-03-28
        ".",
        ("images", "example.ipynb"),
    ),
    Repository(
        "ManiSkill2_real2sim",
        "real2sim",
        "https://github.com/simpler-env/ManiSkill2_real2sim",
        "ef7a4d4fdf4b69f2c2154db5b15b9ac8dfe10682",  # the submodule of that commit
        "ManiSkill2_real2sim",
        # meshes and photographs of hundreds of megabytes, named by MS2_REAL2SIM_ASSET_DIR where a task runs
        ("data", "mani_skill2_real2sim/assets/maniskill2-scene-2.glb"),
    ),
)


def none_fetched() -> dict[str, str]:
    """What `lay_sources` says where nothing was fetched."""
    return {repository.argument: ABSENT for repository in REPOSITORIES}


def lay_sources(folder: Path, clone: Path | None) -> dict[str, str]:
    """Fills `folder/NAME` of every repository; returns argument → commit, all `absent` when out of reach.

    Raises StairError when a named clone lacks a commit or a reachable repository breaks off.
    """
    if clone is None:
        unreachable = next((each for each in REPOSITORIES if not _reachable(each.address)), None)
        if unreachable:
            say(f"  {unreachable.address} is out of reach: the image is made without SimplerEnv")
            return none_fetched()
    for repository in REPOSITORIES:
        with tempfile.TemporaryDirectory(prefix="fetched-", dir=folder) as fetched:
            place = clone / repository.inside if clone else _fetch(repository, Path(fetched))
            _unpack(repository, place, folder / repository.name)
    return {repository.argument: repository.commit for repository in REPOSITORIES}


def _reachable(address: str) -> bool:
    try:
        return _git("ls-remote", "--quiet", address, "HEAD", timeout_s=REACH_S).returncode == 0
    except StairError:
        return False


def _fetch(repository: Repository, place: Path) -> Path:
    _git("init", "--quiet", "--bare", str(place), timeout_s=REACH_S)
    words = ("--git-dir", str(place), "fetch", "--quiet", "--depth=1")
    done = _git(*words, repository.address, repository.commit, timeout_s=FETCH_S)
    if done.returncode:
        raise StairError(
            f"{repository.address} did not give commit {repository.commit}:\n    {done.stderr.strip()}",
            hint="try again, or name a clone: git clone --recurse-submodules, then --simpler-env CLONE",
        )
    return place


def _unpack(repository: Repository, place: Path, target: Path) -> None:
    """The files of the commit, without those that no evaluation reads."""
    target.mkdir()
    archive = target.with_suffix(".tar")
    left_out = [f":(exclude){path}" for path in repository.left_out]
    words = ("-C", str(place), "archive", "--output", str(archive), repository.commit, ".", *left_out)
    done = _git(*words, timeout_s=FETCH_S)
    if done.returncode:
        wanted = f"commit {repository.commit[:12]} of {repository.name}"
        raise StairError(
            f"{place} cannot give {wanted}:\n    {done.stderr.strip()}",
            hint=f"a clone of {REPOSITORIES[0].address} made with --recurse-submodules has it",
        )
    subprocess.run(["tar", "-C", str(target), "-xf", str(archive)], check=True)
    archive.unlink()


def _git(*words: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Runs git, whose status the caller judges. Raises StairError where there is none, or it hangs."""
    # a clone of another user is only read, and nobody is there to type a password
    variables = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    command = ["git", "-c", "safe.directory=*", *words]
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=variables,
            timeout=timeout_s,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StairError(
            f"git could not be asked: {error}", hint="is it installed, is the network up?"
        ) from None
