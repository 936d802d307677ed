"""A container image as a step needs it: inspected first, then judged.

Takes the path of a SIF, hands on ImageFacts, and from those a list of problems. The surprise: neither
needs Apptainer, which login nodes often lack; only for files that do not carry their labels beside the
file system is it asked, and what it said is remembered.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Literal

from stair.cluster.remembered import file_key, recall, remember
from stair.cluster.sif import NotASif, Truncated, read_sif
from stair.frozen import frozen

MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x", "armv7l": "arm"}
"""What `uname -m` says → what a SIF says."""
PYTHONS = ((3, 10), (3, 12))
"""The oldest and the newest Python that STAIR runs on, as in pyproject.toml."""

Trouble = Literal["", "missing", "unreadable", "not-sif", "truncated"]


@frozen
class ImageFacts:
    """What was found at a path. Looking never fails: what went wrong is a fact too."""

    path: str
    bytes: int = 0
    trouble: Trouble = ""
    detail: str = ""
    """The trouble in the system's own words."""
    architecture: str = ""
    """As SIF names it, such as amd64; empty: not known."""
    labels: Mapping[str, str] = field(default_factory=dict)
    labels_known: bool = False
    """False: the labels could not be read here, which says nothing about what they are."""

    @property
    def kind(self) -> str:
        """`train` or `eval`; empty for an image that is none of ours."""
        return self.labels.get("stair.kind", "")

    @property
    def variant(self) -> str:
        """`cuda` or `cpu`."""
        return self.labels.get("stair.variant", "")

    @property
    def python(self) -> str:
        """Full version of the Python inside, such as 3.11.2."""
        return self.labels.get("stair.python", "")

    @property
    def torch(self) -> str:
        return self.labels.get("stair.torch", "")

    @property
    def stair_version(self) -> str:
        return self.labels.get("stair.version", "")


@frozen
class ImageProblem:
    """One reason why a step cannot run in an image, or why that could not be found out."""

    id: str
    """Stable, such as image-architecture: for tests, and to search for."""
    what: str
    why: str
    cure: str
    certain: bool = True
    """False: it could not be checked from here."""


def inspect_image(path: Path | str) -> ImageFacts:
    """Looks at a SIF: a millisecond, or one call of Apptainer (0.1 s, then remembered) for an old file."""
    path = Path(path)
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            return ImageFacts(str(path), trouble="not-sif", detail="it is no regular file")
        sif = read_sif(path)
    except FileNotFoundError:
        return ImageFacts(str(path), trouble="missing")
    except NotASif as error:
        return ImageFacts(str(path), facts.st_size, "not-sif", str(error))
    except Truncated as error:
        return ImageFacts(str(path), facts.st_size, "truncated", str(error))
    except OSError as error:
        return ImageFacts(str(path), trouble="unreadable", detail=error.strerror or str(error))
    labels = sif.labels if sif.labels is not None else _ask_apptainer(path, facts)
    return ImageFacts(
        str(path),
        facts.st_size,
        architecture=sif.architecture,
        labels=labels or {},
        labels_known=labels is not None,
    )


def check_image(
    facts: ImageFacts,
    *,
    machine: str,
    kind: str = "train",
    needs_stair: str = "",
    gpus: bool = False,
) -> list[ImageProblem]:
    """Why steps of `kind` cannot run in an image, the most causal first; empty when they can.

    `machine` is what `uname -m` says on the node. `needs_stair` is the oldest version of STAIR whose image
    has what the code needs; empty asks for none. `gpus`: the step asks for GPUs. Pure.
    """
    if facts.trouble:
        return [_unusable(facts)]
    build = f"containers/build {kind}" if kind else "containers/build"
    problems = []
    wanted = MACHINES.get(machine, machine)
    if not facts.architecture:
        problems.append(_unknown(facts, "its architecture"))
    elif facts.architecture != wanted:
        problems.append(
            ImageProblem(
                "image-architecture",
                f"image {facts.path} is for {facts.architecture}",
                f"the node is {wanted} ({machine}): no program in it can start there",
                f"build it on such a machine: {build}",
            )
        )
    if not facts.labels_known:
        return [*problems, _unknown(facts, "what it is made for")]
    if facts.kind != kind:
        named = f"of kind '{facts.kind}'" if facts.kind else "no image of STAIR: it has no label stair.kind"
        problems.append(
            ImageProblem(
                "image-kind",
                f"image {facts.path} is {named}",
                f"the step runs in a {kind} image",
                f"set container.{kind}_image in the cluster's profile to one made by {build}",
            )
        )
        return problems
    if problem := _python_problem(facts, build):
        problems.append(problem)
    if needs_stair and _numbers(facts.stair_version) < _numbers(needs_stair):
        problems.append(
            ImageProblem(
                "image-stair",
                f"image {facts.path} was made for STAIR {facts.stair_version or '(no version)'}",
                f"this code needs what the image of {needs_stair} or later has",
                f"build it again: {build} --force",
            )
        )
    if gpus and facts.variant == "cpu":
        problems.append(
            ImageProblem(
                "image-variant",
                f"image {facts.path} is the cpu variant (torch {facts.torch})",
                "the step asks for GPUs, which its torch cannot use",
                f"{build} --variant cuda, or run without GPUs",
            )
        )
    return problems


def _unusable(facts: ImageFacts) -> ImageProblem:
    path = facts.path
    if facts.trouble == "missing":
        return ImageProblem(
            "image-missing",
            f"there is no image {path}",
            "nothing can run in it",
            "containers/build makes one; the profile's container section names it",
        )
    if facts.trouble == "unreadable":
        return ImageProblem(
            "image-unreadable",
            f"image {path} cannot be read: {facts.detail}",
            "the node will not be able to either",
            f"check its rights and those of its folders: ls -l {path}",
        )
    if facts.trouble == "truncated":
        return ImageProblem(
            "image-truncated",
            f"image {path} is not whole: {facts.detail}",
            "a copy was cut off, or is still going on",
            "copy it again and compare its sha256",
        )
    return ImageProblem(
        "image-not-sif",
        f"{path} is no SIF image: {facts.detail}",
        "steps run in SIF images only",
        "containers/build makes one",
    )


def _unknown(facts: ImageFacts, what: str) -> ImageProblem:
    return ImageProblem(
        "image-unknown",
        f"could not check {what}: image {facts.path} does not tell it without Apptainer",
        "there is no Apptainer here, or it could not read the image",
        "look with `apptainer inspect` on a node that has it",
        certain=False,
    )


def _python_problem(facts: ImageFacts, build: str) -> ImageProblem | None:
    oldest, newest = PYTHONS
    if facts.python and oldest <= _numbers(facts.python)[:2] <= newest:
        return None
    return ImageProblem(
        "image-python",
        f"image {facts.path} has {'Python ' + facts.python if facts.python else 'no label stair.python'}",
        f"STAIR runs on Python {oldest[0]}.{oldest[1]} to {newest[0]}.{newest[1]}",
        f"build it again: {build} --force",
    )


def _numbers(version: str) -> tuple[int, ...]:
    """(0, 1, 0) of 0.1.0; a part that is no number ends it."""
    numbers: list[int] = []
    for part in version.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def _ask_apptainer(path: Path, facts: os.stat_result) -> dict[str, str] | None:
    key = file_key(path, facts)
    known = recall("images.jsonl", key)
    if isinstance(known, dict):
        return known
    program = os.environ.get("APPTAINER") or shutil.which("apptainer")
    if not program:
        return None
    words = [program, "inspect", "--json", "--labels", str(path)]
    try:
        done = subprocess.run(words, capture_output=True, timeout=30, check=True)
        labels = json.loads(done.stdout)["data"]["attributes"]["labels"] or {}
        labels = {str(name): str(value) for name, value in labels.items()}
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError, AttributeError):
        return None
    remember("images.jsonl", key, labels)
    return labels
