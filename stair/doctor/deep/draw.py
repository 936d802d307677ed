"""A picture per GPU and SAPIEN: what came out, how long it took, how it failed.

Takes GPUs and an evaluation image (or the SAPIEN of this Python), hands on one fact per picture. One GPU of a
node may hang while its neighbours draw (spec: row 15), so each has a process and a time limit of its own;
four of them draw at once.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from stair.cluster.image import ImageFacts
from stair.console import say
from stair.doctor.deep import picture
from stair.doctor.deep.child import Ended, at_once, run
from stair.doctor.deep.gpus import CPU, Gpu
from stair.doctor.deep.inside import Place
from stair.errors import StairError
from stair.sim.preflight import read_answer
from stair.sim.render import CannotDraw

PYTHONS = {"sapien3": "/opt/stair/ms3/bin/python", "sapien2": "/opt/stair/sapien2/bin/python"}
"""Of our evaluation image."""
LIMIT_S = 120.0
"""For one picture, start of the image included: 5 s on a quiet node, over a minute on a full one."""
AT_ONCE = 4

Facts = dict[str, Any]


def engines(image: ImageFacts | None) -> tuple[str, ...]:
    """The SAPIENs to draw with: those of the image, or that of this Python; none where there is none."""
    if image is not None:
        both = not (image.labels_known and image.variant == "ms3")
        return tuple(PYTHONS) if both else ("sapien3",)
    try:
        return ("sapien2",) if version("sapien").startswith("2.") else ("sapien3",)
    except PackageNotFoundError:
        return ()


def draw(
    place: Place,
    with_engines: Sequence[str],
    gpus: Sequence[Gpu],
    *,
    pictures: Path | None = None,
    limit_s: float = LIMIT_S,
    host: Mapping[str, str] = os.environ,
) -> list[Facts]:
    """One fact per GPU and engine, in that order; without GPUs the CPU draws.

    Files of the pictures are put into the folder `pictures`, which has to exist.
    """

    def one(gpu: Gpu, engine: str) -> Facts:
        return draw_one(place, engine, gpu, pictures=pictures, limit_s=limit_s, host=host)

    wanted = [(gpu, engine) for gpu in gpus or (CPU,) for engine in with_engines]
    say(f"drawing {len(wanted)} pictures with {' and '.join(with_engines)}, {limit_s:g} s each at most")
    return at_once([partial(one, *pair) for pair in wanted], AT_ONCE if gpus else 1)


def draw_one(
    place: Place,
    engine: str,
    gpu: Gpu,
    *,
    pictures: Path | None,
    limit_s: float,
    host: Mapping[str, str] = os.environ,
) -> Facts:
    """Draws one picture in a child process and tells what became of it."""
    choice = "cpu" if gpu.index is None else "nvidia"
    file = "" if pictures is None else str(pictures / f"{engine}-{_word(gpu)}.png")
    argv, variables = place.start(
        picture,
        [choice, *([file] if file else [])],
        python=PYTHONS[engine],
        variables=gpu.variables,
        folders=[str(pictures)] if pictures else (),
        host=host,
    )
    fact: Facts = {"gpu": gpu.index, "name": gpu.name, "engine": engine, "choice": choice}
    fact["image"] = place.image
    try:
        ended = run(argv, variables, limit_s)
    except StairError as error:
        return {**fact, "ok": None, "error": error.what}
    fact |= read_picture(choice, ended, limit_s)
    verdict = "a good picture" if fact["ok"] else fact["error"]
    say(f"  {engine} on {gpu}: {verdict}, {ended.seconds:.1f} s")
    return fact


def read_picture(choice: str, ended: Ended, limit_s: float) -> Facts:
    """What a child's end says about its picture. Pure. `ok` is None when nothing was tried."""
    fact: Facts = {
        "ok": False,
        "seconds": round(ended.seconds, 2),
        "draw_s": None,
        "std": None,
        "devices": [],
        "error": "",
        "signal": ended.signal,
        "timed_out": ended.code is None,
        "picture": None,
    }
    if ended.code is None:
        return fact | {"error": f"no picture within {limit_s:g} s"}
    if ended.signal:
        return fact | {"error": f"it died of signal {ended.signal}; its last words: {ended.last_words}"}
    if ended.code == 255 and "FATAL" in ended.err:  # Apptainer's own: nothing was started
        return fact | {"ok": None, "error": ended.last_words}
    said = _last_object(ended.out)
    spread = said.get("spread")
    fact["std"] = spread if spread is not None and math.isfinite(spread) else None
    fact |= {"draw_s": said.get("seconds"), "picture": said.get("file") or None}
    fact["devices"] = list(said.get("devices") or ())
    try:
        read_answer(choice, ended.code, json.dumps(said) if said else "", ended.err)
    except CannotDraw as error:
        return fact | {"error": error.what}
    return fact | {"ok": True}


def _last_object(text: str) -> Facts:
    """The JSON object of the last line; empty where it is none."""
    try:
        said = json.loads(text.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _word(gpu: Gpu) -> str:
    return "cpu" if gpu.index is None else f"gpu{gpu.index}"
