"""What is sent to a node: one text that a Python there reads from its standard input.

Takes an order, hands on traveller.py with every module of ours that it will need, and reads what it prints.
The surprise: nothing has to lie on a folder that the node shares with us, and nothing is written there.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterable
from dataclasses import asdict

from stair.doctor.traveller import MARK, pack, unpack
from stair.doctor.visit import Order, Visit, from_json
from stair.errors import UsageError

FIRST = "stair.doctor.visit"
TRAVELLER = "stair.doctor.traveller"


def luggage(order: Order) -> str:
    """The program for a node's Python; about 60 kB."""
    sources = modules_below(FIRST) | {"stair.doctor.probe": _source("stair.doctor.probe")}
    return f"{_source(TRAVELLER)}\n\nmain({pack([sources, asdict(order)])!r})\n"


def modules_below(name: str) -> dict[str, str]:
    """The sources of a module, of those of ours that it imports, of those that they import, and so on."""
    sources: dict[str, str] = {}
    wanted = [name]
    while wanted:
        module = wanted.pop()
        if module in sources:
            continue
        sources[module] = _source(module)
        wanted += _packages(module)
        for node in ast.walk(ast.parse(sources[module])):
            if isinstance(node, ast.Import):
                wanted += [alias.name for alias in node.names if alias.name.startswith("stair.")]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stair"):
                wanted.append(str(node.module))
                found = [f"{node.module}.{alias.name}" for alias in node.names]
                wanted += [each for each in found if _is_module(each)]
    return sources


def read_visits(lines: Iterable[str]) -> dict[str, Visit]:
    """The whole visits among the lines of any number of nodes, by name; what is not whole is left out."""
    chunks: dict[tuple[str, int], dict[int, str]] = {}
    for line in lines:
        words = line.split()
        if len(words) == 5 and words[0] == MARK and words[2].isdigit() and words[3].isdigit():
            chunks.setdefault((words[1], int(words[3])), {})[int(words[2])] = words[4]
    visits = {}
    for (name, _), found in chunks.items():
        try:  # what is not whole cannot be unpacked
            visits[name] = from_json(unpack("".join(found[number] for number in sorted(found))))
        except (ValueError, UsageError):
            continue
    return visits


def _packages(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is a module, not a package
        return False


def _source(name: str) -> str:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    return spec.loader.get_source(name) or ""  # type: ignore[attr-defined]
