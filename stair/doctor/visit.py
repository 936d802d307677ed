"""A visit: what was seen at one place, on its host and in an image there.

Takes an order, runs probe.py on this host and in the image, hands on a Visit, which goes to JSON and back.
The surprise: the image is started by the very argv that a job is started with, so that what is seen is what
a job would see; and whatever does not come back is a sentence in `missing`, never an exception.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Any

from stair.cluster.container import ContainerConfig, in_container, runtime_environment
from stair.cluster.graphics import on_this_node
from stair.cluster.image import inspect_image
from stair.errors import StairError, UsageError
from stair.frozen import frozen

SCHEMA = 1
"""Of a visit's JSON; grows when a key changes its meaning or goes away."""
DRIVER = Path("/proc/driver/nvidia/version")
"""Is there where NVIDIA's kernel module is loaded: then Apptainer is given `--nv`."""
BARE_S, START_S = 30.0, 120.0
"""What a probe may take besides its own limits, on a host and in an image that is not in any cache yet."""
IN_TURN = 12
"""More than a probe has questions that wait for each other and may each use up their time limit."""


@frozen
class Visit:
    """What was seen at one place. Everything is plain JSON."""

    name: str
    role: str = "here"
    """`here`, `login` (the host that asks) or `compute` (a node that was asked)."""
    host: Mapping[str, Any] | None = None
    """The sheet of probe.py; None: not looked at, or it did not come back (`missing`)."""
    image: Mapping[str, Any] | None = None
    """The sheet of the same probe inside the image."""
    image_file: Mapping[str, Any] | None = None
    """ImageFacts of the file, with `expected_lock`."""
    request: Mapping[str, Any] | None = None
    """What a job would ask for here."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """`node`, `host` or `image` → why nothing is known of it."""
    deep: Mapping[str, Any] | None = None
    """What `--deep` measured."""


@frozen
class Order:
    """What a visit shall look at."""

    image: str = ""
    """Path of a SIF; empty: the host only."""
    render: str = ""
    """`nvidia`, `cpu`, or empty: whatever the image draws with by itself."""
    folder: str = "runs"
    """Where runs will be written."""
    timeout_s: float = 5.0
    """For each thing that may hang."""
    gpus_per_node: int = 0

    @property
    def limit_s(self) -> float:
        """When a probe counts as lost."""
        return (START_S if self.image else BARE_S) + IN_TURN * self.timeout_s


def to_json(visit: Visit) -> dict[str, Any]:
    """Plain values."""
    return {"stair_doctor": SCHEMA, **asdict(visit)}


def from_json(value: Any, where: str = "it") -> Visit:
    """The visit again; keys of a later version are passed over. `where` is for messages.

    Raises UsageError for what is no visit, or one of a newer schema.
    """
    if isinstance(value, Mapping) and "probe" in value and "stair_doctor" not in value:
        return Visit(str(value.get("host", "")), host=value)  # a bare sheet, as probe.py prints it
    if not isinstance(value, Mapping) or not isinstance(value.get("stair_doctor"), int):
        raise UsageError(
            f"{where} holds no visit of stair-doctor", hint="stair-doctor --capture FILE makes one"
        )
    if value["stair_doctor"] > SCHEMA:
        raise UsageError(
            f"{where} was written by a newer stair-doctor (schema {value['stair_doctor']}, here {SCHEMA})",
            hint="read it with that version of STAIR",
        )
    wrong = [
        name
        for name in ("host", "image", "image_file", "request", "missing", "deep")
        if not isinstance(value.get(name), Mapping | None)
    ]
    if wrong:
        raise UsageError(f"{where}: '{wrong[0]}' of a visit is no mapping", hint="capture it again")
    return Visit(
        name=str(value.get("name", "")),
        role=str(value.get("role", "here")),
        host=value.get("host"),
        image=value.get("image"),
        image_file=value.get("image_file"),
        request=value.get("request"),
        missing=value.get("missing") or {},
        deep=value.get("deep"),
    )


def visit_here(order: Order, *, name: str = "", role: str = "here") -> Visit:
    """Looks at this host, and at the image on it. Raises nothing expected."""
    name = name or socket.gethostname().partition(".")[0]
    missing: dict[str, str] = {}
    words = ["-", order.folder, "--timeout", f"{order.timeout_s:g}"]
    host = _probe([sys.executable, *words], None, order, "host", missing)
    visit = Visit(name, role, host, request=_request(order, {}), missing=missing)
    if not order.image:
        return visit
    facts = asdict(inspect_image(order.image))
    visit = replace(visit, image_file=facts, request=_request(order, facts["labels"]))
    if facts["trouble"]:
        return visit  # what is wrong with the file says it all
    try:
        argv, environment = image_command(["python3", *words], order)
    except StairError as error:
        return replace(visit, missing={**missing, "image": error.what})
    image = _probe(argv, environment, order, "image", missing)
    return replace(visit, image=image, missing=missing)


def image_command(argv: Sequence[str], order: Order) -> tuple[tuple[str, ...], dict[str, str]]:
    """The argv and the variables that run `argv` in the order's image as a job of this host would.

    Raises UsageError for a path that Apptainer cannot be told.
    """
    container = ContainerConfig(eval_image=order.image)
    gpus = order.render == "nvidia" or (not order.render and DRIVER.exists())
    folders = [os.path.abspath(order.folder)] if os.path.isdir(order.folder) else []
    words = in_container(argv, order.image, container, folders=folders, gpus=gpus)
    environment = runtime_environment(os.environ, container.keep, {})
    words, environment, _ = on_this_node(words, environment)
    return words, environment


def with_expected_lock(visit: Visit, checkout: Path) -> Visit:
    """The same visit, its image file held against the locks of a checkout (where there are any)."""
    if visit.image_file is None:
        return visit
    found = expected_lock(visit.image_file.get("labels") or {}, checkout / "containers" / "locks")
    return replace(visit, image_file={**visit.image_file, "expected_lock": found})


def expected_lock(labels: Mapping[str, str], folder: Path) -> str:
    """What the label stair.lock_sha256 of an image built now would be; empty where that is not known."""
    import hashlib

    kind, variant = labels.get("stair.kind", ""), labels.get("stair.variant", "")
    names = {
        "train": (f"train-{variant}", f"attention-{labels.get('stair.attention', 'none')}"),
        "eval": ("eval-ms3", "eval-sapien2") if variant == "full" else (f"eval-{variant}",),
    }.get(kind, ())
    try:
        locks = [(folder / f"{name}.lock").read_bytes() for name in names]
    except OSError:
        return ""
    return hashlib.sha256(b"".join(locks)).hexdigest() if locks else ""


def probe_source() -> str:
    """probe.py as text, from wherever the package was imported: on a node that is memory."""
    spec = importlib.util.find_spec("stair.doctor.probe")
    assert spec is not None
    assert spec.loader is not None
    return spec.loader.get_source(spec.name) or ""  # type: ignore[attr-defined]


def _probe(
    argv: Sequence[str],
    environment: Mapping[str, str] | None,
    order: Order,
    what: str,
    missing: dict[str, str],
) -> dict[str, Any] | None:
    """The sheet that a command prints, or None and why not in `missing`."""
    try:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=None if environment is None else dict(environment),
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        missing[what] = f"{argv[0]} cannot be started: {error.strerror}"
        return None
    try:
        out, complaint = child.communicate(probe_source(), timeout=order.limit_s)
    except subprocess.TimeoutExpired:
        missing[what] = f"the probe gave no answer within {order.limit_s:.0f} s"
        return None
    finally:
        if child.poll() is None:  # also when we are interrupted
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    start = out.find("{")
    try:
        sheet = json.loads(out[start:]) if start >= 0 else None
    except ValueError:
        sheet = None
    if isinstance(sheet, dict) and "probe" in sheet:
        return sheet
    said = [line for line in (complaint.strip() or out.strip()).splitlines() if line.strip()]
    missing[what] = f"the probe left with {child.returncode}: {said[-1][:300] if said else 'without a word'}"
    return None


def _request(order: Order, labels: Mapping[str, str]) -> dict[str, Any] | None:
    """What a job of this kind asks for; None where nothing was said about one."""
    if not (order.image or order.render or order.gpus_per_node):
        return None
    return {
        "gpus_per_node": order.gpus_per_node,
        "cpus": 0,
        "memory_mb": 0,
        "minutes": 0,
        "kind": labels.get("stair.kind", ""),
        "render": order.render,
        "layout": "",
        "minutes_left": None,
    }
