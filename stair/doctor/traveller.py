"""What runs on a node: looks at it and prints the visit, packed into short lines.

Standard library only and Python >= 3.6, since it is piped into whatever Python a node has and finds nothing
of ours there: luggage.py sends the modules along, and they are imported from memory. The surprise: lines are
short and say whose they are, because srun mixes the output of nodes and cuts long lines.
"""

import base64
import importlib.abc
import importlib.util
import json
import os
import socket
import subprocess
import sys
import zlib

MARK = "@stair"
CHUNK = 600
"""Letters of a line; srun cuts at 1,024."""
NEEDS = (3, 10)
"""The oldest Python that STAIR's own modules run on; an older one looks at the host only."""


class Luggage(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports modules from a dictionary of their sources."""

    def __init__(self, sources):
        self.sources = sources

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in self.sources:
            return None
        return importlib.util.spec_from_loader(fullname, self, is_package=self.is_package(fullname))

    def is_package(self, fullname):
        return any(name.startswith(fullname + ".") for name in self.sources)

    def get_source(self, fullname):
        return self.sources[fullname]


def pack(value):
    """Any JSON as text of letters and digits."""
    return base64.b64encode(zlib.compress(json.dumps(value).encode(), 9)).decode()


def unpack(text):
    """The value again. Raises ValueError for what pack did not make."""
    try:
        return json.loads(zlib.decompress(base64.b64decode(text, validate=True)).decode())
    except zlib.error as error:
        raise ValueError(str(error))  # noqa: B904 (nothing is gained by the chain on a node)


def look(sources, order, name):
    """The visit as JSON; without STAIR's modules where the Python is too old for them."""
    if sys.version_info >= NEEDS:
        sys.meta_path.insert(0, Luggage(sources))
        from stair.doctor.visit import Order, to_json, visit_here

        return to_json(visit_here(Order(**order), name=name, role="compute"))
    visit = {"stair_doctor": 1, "name": name, "role": "compute", "host": None, "missing": {}}
    if order["image"]:
        version = ".".join(str(number) for number in sys.version_info[:2])
        visit["missing"]["image"] = f"Python {version} of the node is too old to start it as a job would"
    words = [sys.executable, "-", order["folder"], "--timeout", str(order["timeout_s"])]
    done = subprocess.run(  # noqa: UP022 (Python 3.6 has no capture_output)
        words,
        input=sources["stair.doctor.probe"].encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=60 + 12 * order["timeout_s"],
    )
    try:
        visit["host"] = json.loads(done.stdout.decode(errors="replace"))
    except ValueError:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["without a word"]
        visit["missing"]["host"] = f"the probe left with {done.returncode}: {said[-1][:300]}"
    return visit


def main(packed):
    """Prints the visit of this node."""
    name = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    sources, order = unpack(packed)
    try:
        visit = look(sources, order, name)
    except Exception as error:  # whatever it is, the one who asked must hear of it
        missing = {"host": f"{type(error).__name__}: {error}"}
        visit = {"stair_doctor": 1, "name": name, "role": "compute", "missing": missing}
    text = pack(visit)
    chunks = [text[start : start + CHUNK] for start in range(0, len(text), CHUNK)]
    for number, chunk in enumerate(chunks, 1):
        print(MARK, name, number, len(chunks), chunk)
    sys.stdout.flush()
