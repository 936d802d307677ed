"""What `stair-doctor --deep` measures at one place, one thing after the other.

Takes the place's fact sheet and the images, hands on the dictionary that becomes the `deep` of a visit. A
part that could not be measured at all is `{"failed": why, "how": ...}`, as sections of a sheet are; nothing
here raises. The surprise: it takes minutes and keeps GPUs busy, so it is never run unasked.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stair.cluster.container import ContainerConfig
from stair.cluster.image import ImageFacts, inspect_image
from stair.doctor.deep.all_reduce import on_this_machine
from stair.doctor.deep.compute import compute
from stair.doctor.deep.draw import draw, engines
from stair.doctor.deep.gpus import gpus_of
from stair.doctor.deep.inside import Place
from stair.doctor.deep.peer import Errand
from stair.doctor.deep.remote import node_name
from stair.doctor.deep.start import container_start
from stair.doctor.finding import Facts
from stair.errors import StairError

PARTS = ("container", "draw", "compute", "all_reduce")


def deep_facts(
    sheet: Facts,
    images: Sequence[str] = (),
    *,
    pictures: str = "",
    container: ContainerConfig | None = None,
    parts: Sequence[str] = PARTS,
    environment: Mapping[str, str] = os.environ,
) -> dict[str, Any]:
    """All parts that are asked for, in the order of PARTS, progress on stderr.

    Drawing wants an evaluation image, the rest torch of a training image; without one this Python is asked
    for SAPIEN or torch. `pictures` is a folder for what was drawn, made where it is missing. `all_reduce` is
    that of two processes here; between nodes it is `all_reduce.between_nodes`.
    """
    container = container or ContainerConfig()
    gpus = gpus_of(sheet, environment)
    looked = [inspect_image(image) for image in images]
    usable = [image for image in looked if not image.trouble]
    drawing = next((image for image in usable if image.kind == "eval"), None)
    # Our evaluation images have torch as well, though only a training image's is the one that trains.
    torch = next((image for image in usable if image.kind == "train"), drawing)
    place = Place(torch.path if torch else "", bool(gpus), container)
    facts: dict[str, Any] = {}
    for part in PARTS:
        if part not in parts:
            continue
        try:
            if part == "container":
                facts[part] = container_start([image.path for image in usable], container, host=environment)
            elif part == "draw":
                facts[part] = _draw(drawing, gpus, container, pictures, environment)
            elif not (place.image or find_spec("torch")):
                facts[part] = {"failed": "no image was given, and this Python has no torch", "how": "missing"}
            elif part == "compute":
                facts[part] = compute(place, gpus, host=environment)
            else:
                errand = Errand(image=place.image, binds=container.binds)
                facts[part] = on_this_machine(errand, gpus, environment)
        except StairError as error:
            facts[part] = {"failed": error.what, "how": "error"}
        except OSError as error:  # no room for what is written out, for one
            facts[part] = {"failed": f"{error.filename}: {error.strerror}", "how": "error"}
    return facts


def on_node(told: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """What remote.py runs on a node: `told` has the sheets of all by their names, and the rest."""
    name = node_name(environment)
    pictures = os.path.join(told["pictures"], name) if told["pictures"] else ""
    return deep_facts(
        told["sheets"].get(name, {}),
        told["images"],
        pictures=pictures,
        container=ContainerConfig(binds=tuple(told["binds"])),
        parts=told["parts"],
        environment=environment,
    )


def _draw(
    image: ImageFacts | None,
    gpus: Sequence[Any],
    container: ContainerConfig,
    pictures: str,
    environment: Mapping[str, str],
) -> Any:
    with_engines = engines(image)
    if not with_engines:
        why = "no evaluation image was given, and this Python has no SAPIEN"
        return {"failed": why, "how": "missing"}
    folder = Path(os.path.abspath(pictures)) if pictures else None
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    place = Place(image.path if image else "", bool(gpus), container)
    return draw(place, with_engines, gpus, pictures=folder, host=environment)
