"""What a check is, what it hands on, and how findings are put in the order of cause.

A check looks at the facts of one place (`Check`) or of two (`Comparison`) and hands on findings only where
something is to be said: silence is health. The surprise: a finding whose cause was found as well is no
finding of its own any more, it is folded below that cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stair.errors import COULD_NOT_CHECK, FAILED, FINE

Level = Literal["note", "warning", "error", "unknown"]
"""`note` needs nothing, `warning` may hurt later, `error` will fail, `unknown` could not be checked."""
Facts = Mapping[str, Any]
"""One fact sheet as probe.py prints it (its docstring lists every key)."""


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis."""

    id: str
    """Stable, to search for: `room.what`, such as `vulkan.icd-missing`."""
    level: Level
    seen: str
    """What was found, with names and numbers."""
    means: str = ""
    """What comes of it, in the words other programs print, so that a search for their message ends here."""
    cure: str = ""
    """What to do, in words."""
    command: str = ""
    """The cure as a shell command that can be pasted, where there is one."""
    place: str = ""
    """Where it was seen: empty for this machine, or `image`, a node's name, `image on NODE`."""


@dataclass(frozen=True)
class Check:
    """A question that is put to one fact sheet."""

    id: str
    about: str
    """What is looked at, in one line, for `--list-checks`."""
    judge: Callable[[Facts], Iterable[Finding]]
    """Pure. Hands on findings of this id only; none where all is well."""
    because: tuple[str, ...] = ()
    """Ids that explain this one where they were found too; one that ends in `.` or `-`, such as `vulkan.` or
    `vulkan.icd-`, stands for all that begin so."""
    where: Literal["everywhere", "host", "image"] = "everywhere"
    """Some questions make sense on one side of the container's wall only."""


@dataclass(frozen=True)
class Comparison:
    """A question that is put to two fact sheets: (host, image), (login, compute), (node, node)."""

    id: str
    about: str
    sides: Literal["host-image", "login-compute", "node-node", "request-got"]
    judge: Callable[[Any, Any], Iterable[Finding]]
    because: tuple[str, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """A first cause and what follows from it."""

    cause: Finding
    consequences: tuple[Finding, ...] = ()


def fold(findings: Sequence[Finding], because: Mapping[str, Sequence[str]]) -> tuple[Diagnosis, ...]:
    """Findings, given in the order of cause, become causes with their consequences below them.

    `because` is that of every check by its id. A finding is folded below the first error (or `unknown`) of
    the same place, or of the machine around it, that explains it. Errors come first, then what could not be
    checked, warnings and notes; the given order holds within a level.
    """
    roots: list[Finding] = []
    below: dict[int, list[Finding]] = {}
    root_of: list[int] = []
    for finding in findings:
        root = next(
            (
                root_of[number]
                for number, earlier in enumerate(findings[: len(root_of)])
                if earlier.level in ("error", "unknown")
                and earlier.id != finding.id
                and _around(earlier.place, finding.place)
                and _named(earlier.id, because.get(finding.id, ()))
            ),
            -1,
        )
        if root < 0:
            root_of.append(len(roots))
            roots.append(finding)
        else:
            root_of.append(root)
            below.setdefault(root, []).append(finding)
    ranks = ("error", "unknown", "warning", "note")
    order = sorted(range(len(roots)), key=lambda number: ranks.index(roots[number].level))
    return tuple(Diagnosis(roots[number], tuple(below.get(number, ()))) for number in order)


def exit_code(findings: Iterable[Finding]) -> int:
    """0 fine, 1 at least one error, 3 no error but something could not be checked."""
    levels = {finding.level for finding in findings}
    if "error" in levels:
        return FAILED
    return COULD_NOT_CHECK if "unknown" in levels else FINE


def _named(id: str, causes: Sequence[str]) -> bool:
    return any(id.startswith(cause) if cause.endswith((".", "-")) else id == cause for cause in causes)


def _around(outer: str, inner: str) -> bool:
    """Whether what is wrong in `outer` can explain `inner`: the same place, or the machine of an image."""
    return inner == outer or (
        inner.startswith("image") and inner.removeprefix("image").removeprefix(" on ") == outer
    )
