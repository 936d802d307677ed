"""How long an image takes to start a program that does nothing.

Takes paths of images, hands on one fact per image. The first start is told apart: it reads what the others
find in memory. How cold it was depends on who used the node before.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from stair.cluster.container import ContainerConfig, in_container, runtime_environment
from stair.console import say
from stair.doctor.deep.child import run
from stair.errors import StairError

STARTS = 3
LIMIT_S = 120.0

Facts = dict[str, Any]


def container_start(
    images: Sequence[str],
    container: ContainerConfig | None = None,
    *,
    limit_s: float = LIMIT_S,
    host: Mapping[str, str] = os.environ,
) -> list[Facts]:
    """Starts every image STARTS times."""
    return [_start(os.path.abspath(image), container or ContainerConfig(), limit_s, host) for image in images]


def _start(image: str, container: ContainerConfig, limit_s: float, host: Mapping[str, str]) -> Facts:
    fact: Facts = {"image": image, "file_system": file_system(image), "ok": False, "error": ""}
    seconds: list[float] = []
    for _ in range(STARTS):
        try:
            argv = in_container(["true"], image, container)
            ended = run(argv, runtime_environment(host, container.keep, {}), limit_s)
        except StairError as error:
            return fact | {"ok": None, "error": error.what}
        if ended.code is None:
            return fact | {"error": f"it did not start within {limit_s:g} s", "timed_out": True}
        if ended.code:
            return fact | {"error": ended.last_words}
        seconds.append(round(ended.seconds, 2))
    say(f"  {os.path.basename(image)} starts in {median(seconds):.1f} s")
    return fact | {"ok": True, "seconds": seconds, "first": seconds[0], "median": median(seconds)}


def file_system(path: str, mounts: str = "/proc/self/mounts") -> str:
    """The type of the file system that a path lies on, such as nfs4; empty where that cannot be read."""
    path, best, kind = os.path.realpath(path), "", ""
    try:
        with open(mounts, encoding="utf-8", errors="replace") as file:
            lines = [line.split() for line in file]
    except OSError:
        return ""
    for line in lines:
        if len(line) < 3:
            continue
        place = line[1].replace("\\040", " ")
        below = path == place or path.startswith(place.rstrip("/") + "/")
        if below and len(place) >= len(best):  # of two on one place the later lies on top
            best, kind = place, line[2]
    return kind
