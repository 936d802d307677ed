"""Every check, in the order of cause: an early fault explains the later ones.

Takes visits (the fact sheets of one place: its host, an image on it, what was asked of it), hands on all
findings. A new check is a `Check` in its room's `CHECKS`; a new room is a line in `ROOMS`. The surprise: a
check is handed the sheet with keys more: `role`, `request`, `image_file` and `deep` of its visit, `side`
(`host` or `image`) and, in an image, `around`, its host's sheet: what is an error on a node that shall draw
is none on a node that shall not, and what a container shares with its host is said once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from stair.doctor.deep import judge
from stair.doctor.finding import Check, Comparison, Facts, Finding, Level
from stair.doctor.findings import (
    apptainer,
    cuda,
    device_files,
    disks,
    driver,
    gpu,
    image,
    libraries,
    login,
    network,
    nodes,
    nvml,
    packages,
    requests,
    resources,
    slurm,
    system,
    vulkan_devices,
    vulkan_files,
)
from stair.doctor.findings.system import PROBE
from stair.doctor.sheet import asked
from stair.errors import UsageError, unknown

if TYPE_CHECKING:
    from stair.doctor.visit import Visit

NO_SHEET = {"probe": PROBE}
"""Stands for the host where only its image file was looked at: nothing is known, and nothing is amiss."""


ROOMS: tuple[ModuleType, ...] = (
    system,
    resources,
    disks,
    network,
    driver,
    device_files,
    nvml,
    gpu,
    apptainer,
    image,
    libraries,
    cuda,
    vulkan_files,
    vulkan_devices,
    packages,
    slurm,
    judge,
    requests,
    login,
    nodes,
)
"""From the ground up: what stands first explains what comes later."""

ALL: tuple[Check | Comparison, ...] = tuple(
    check for room in ROOMS for name in ("CHECKS", "COMPARISONS") for check in getattr(room, name, ())
)


def diagnose(visits: Sequence[Visit], only: Sequence[str] = ()) -> tuple[Finding, ...]:
    """All findings about the visits in the order of cause, each with its place.

    `only` chooses among them as `chosen_ids` does. Raises UsageError for an id that nobody knows.
    """
    ids = chosen_ids(only)
    found = [
        (wall, replace(finding, place=place, level=_weighed(finding, facts[-1])))
        for check in ALL
        if not ids or check.id in ids
        for wall, place, facts in _put_to(check, visits)
        for finding in check.judge(*facts)
    ]
    return tuple(finding for _, finding in sorted(found, key=lambda each: each[0]))


def known_ids() -> tuple[str, ...]:
    """Of every check, in the order of cause."""
    return tuple(dict.fromkeys(check.id for check in ALL))


def chosen_ids(words: Sequence[str]) -> tuple[str, ...]:
    """The checks that are meant by ids or by whole rooms (`vulkan`); none for no words. Raises UsageError."""
    chosen: list[str] = []
    for word in words:
        found = [id for id in known_ids() if id == word or id.startswith(f"{word.rstrip('.')}.")]
        if not found:
            error = unknown("check", word, known_ids())
            raise error if error.hint.startswith("did") else UsageError(error.what, hint="--list-checks")
        chosen += found
    return tuple(dict.fromkeys(chosen))


def because() -> Mapping[str, tuple[str, ...]]:
    """What explains each finding where it was found too, by id: for `fold`."""
    return {check.id: check.because for check in ALL}


def _weighed(finding: Finding, facts: Facts) -> Level:
    """The finding's level; GPUs may be broken where a job was asked to do without them."""
    spared = asked(facts, "render") == "cpu" and not asked(facts, "gpus_per_node", 0)
    of_gpus = finding.id.startswith(("driver.", "gpu.", "cuda."))
    return "warning" if spared and of_gpus and finding.level == "error" else finding.level


def _put_to(check: Check | Comparison, visits: Sequence[Visit]) -> Iterator[tuple[int, str, tuple[Any, ...]]]:
    """Each place that the check is put to: its side of the wall, its name, what `judge` is handed.

    A container's wall goes across the order of cause: first comes what is found on the host, then what does
    not come through (1), what is found inside (2), and what follows for jobs and between nodes (3).
    """
    if isinstance(check, Check):
        for visit in visits:
            host, image = _sheet(visit, visit.host, "host"), _sheet(visit, visit.image, "image")
            if check.where != "image" and (host is not None or visit.image_file is not None):
                yield 0, _place(visit), (_facts(visit, NO_SHEET if host is None else host),)
            if check.where != "host" and image is not None:
                yield 2, _place(visit, image=True), (_facts(visit, image, image=True),)
    elif check.sides == "host-image":
        for visit in visits:
            if visit.host is not None and visit.image is not None:
                yield (
                    1,
                    _place(visit, image=True),
                    (_facts(visit, visit.host), _facts(visit, visit.image, image=True)),
                )
    elif check.sides == "request-got":
        for visit in visits:
            inside = visit.host is None
            sheet = visit.image if inside else visit.host
            if visit.request is not None and sheet is not None:
                yield 3, _place(visit), (visit.request, _facts(visit, sheet, image=inside))
    else:
        logins = [_facts(v, v.host) for v in visits if v.role == "login" and v.host is not None]
        seen = [visit for visit in visits if visit.role == "compute" and visit.host is not None]
        sheets = nodes.Nodes(_facts(visit, visit.host) for visit in seen if visit.host is not None)
        for visit, facts in zip(seen, sheets, strict=True):
            if check.sides == "login-compute":
                for login_facts in logins[:1]:
                    yield 3, _place(visit), (login_facts, facts)
            elif len(sheets) > 1:
                yield 3, _place(visit), (sheets, facts)


def _sheet(visit: Visit, sheet: Mapping[str, Any] | None, side: str) -> Mapping[str, Any] | None:
    """The sheet of one side, or in its stead why there is none."""
    missing = visit.missing.get(side) or (visit.missing.get("node") if side == "host" else "")
    return {"missing": missing} if sheet is None and missing else sheet


def _facts(visit: Visit, sheet: Mapping[str, Any], image: bool = False) -> dict[str, Any]:
    more = {"role": visit.role, "request": visit.request, "image_file": visit.image_file, "deep": visit.deep}
    return {**sheet, **more, "side": "image" if image else "host", "around": visit.host if image else None}


def _place(visit: Visit, image: bool = False) -> str:
    name = "" if visit.role == "here" else visit.name
    return " on ".join(filter(None, ("image" if image else "", name)))
