"""Visits get what was measured at their places: here, or on every node of a cluster at once.

Takes visits as they were made, hands on the same with `deep`. On nodes two sruns are made: one on all of them
for what each measures alone, then one on the first two for the all-reduce between them. The surprise: a node
that gives no answer in time keeps its visit, and its `deep` says so.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from stair.cluster.container import ContainerConfig
from stair.cluster.image import inspect_image
from stair.console import say
from stair.doctor.deep import measure
from stair.doctor.deep.all_reduce import between_nodes
from stair.doctor.deep.measure import PARTS, deep_facts
from stair.doctor.deep.peer import Errand
from stair.doctor.deep.remote import program
from stair.doctor.luggage import read_visits
from stair.doctor.srun import Party, run_srun
from stair.doctor.visit import Visit
from stair.errors import StairError
from stair.interrupts import ends_as_interrupt

ALONE = tuple(part for part in PARTS if part != "all_reduce")
MEMORY_MB = 16_000
"""Of each node: torch with CUDA in one process, four pictures in others."""
LIMIT_S, LIMIT_PER_GPU_S = 600.0, 240.0
"""For what a node measures alone: longer than a hang in every one of its GPUs takes."""


def deepen_here(
    visit: Visit,
    images: Sequence[str] = (),
    *,
    pictures: str = "",
    container: ContainerConfig | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Visit:
    """Measures on this machine. Raises KeyboardInterrupt after Ctrl-C, SIGTERM or SIGHUP."""
    sheet = visit.host or {}
    with ends_as_interrupt():
        deep = deep_facts(sheet, images, pictures=pictures, container=container, environment=environment)
    return replace(visit, deep=deep)


def deepen_nodes(
    visits: Sequence[Visit],
    party: Party,
    images: Sequence[str] = (),
    *,
    gpus_per_node: int = 0,
    pictures: str = "",
    container: ContainerConfig | None = None,
    network: Mapping[str, str] | None = None,
    wait_s: float = 60.0,
    memory_mb: int = MEMORY_MB,
    environment: Mapping[str, str] = os.environ,
) -> tuple[Visit, ...]:
    """Measures on the nodes among `visits` that answered; the others stay as they are.

    `party` says how srun reaches them (partition, account, gres, job), its names are filled in here.
    `network`: NCCL_SOCKET_IFNAME and the like, as the profile has them.
    """
    names = tuple(visit.name for visit in visits if visit.role == "compute" and visit.host is not None)
    if not names:
        return tuple(visits)
    party = replace(party, names=names, count=0, memory_mb=memory_mb)
    binds = (container or ContainerConfig()).binds
    told = {
        "sheets": {v.name: _little(v.host or {}) for v in visits if v.name in names},
        "images": list(images),
        "pictures": pictures,
        "binds": list(binds),
        "parts": list(ALONE),
    }
    limit_s = LIMIT_S + LIMIT_PER_GPU_S * gpus_per_node
    say(f"measuring on {len(names)} nodes: images, pictures, rates; {limit_s / 60:.0f} minutes at most")
    deep: dict[str, dict[str, Any]] = {}
    try:
        said = run_srun(party, program(measure, told), environment, wait_s=wait_s, limit_s=limit_s)
    except StairError as error:
        deep = {name: _lost(error.what) for name in names}
    else:
        words = {**said.words, **said.lost}
        found = read_visits(said.lines)
        for name in names:
            measured = found[name].deep if name in found else None
            deep[name] = dict(measured or _lost(words.get(name) or said.complaint or "it gave no answer"))
    if len(names) > 1:
        backend = "nccl" if gpus_per_node else "gloo"
        trains = [image for image in images if inspect_image(image).kind == "train"]
        errand = Errand(backend, (trains or [*images, ""])[0], binds, network or {})
        two = replace(party, names=names[:2])
        deep[names[0]]["all_reduce"] = between_nodes(two, errand, environment, wait_s=wait_s)
    return tuple(replace(visit, deep=deep[visit.name]) if visit.name in deep else visit for visit in visits)


def _little(sheet: Mapping[str, Any]) -> dict[str, Any]:
    """What gpus_of reads of a sheet: hundreds of them travel in one text."""
    return {name: sheet.get(name) for name in ("cuda", "driver")}


def _lost(why: str) -> dict[str, Any]:
    return {part: {"failed": why, "how": "error"} for part in ALONE}
