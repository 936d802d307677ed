"""A function of this room runs on nodes that share nothing with us.

Takes a module and what to tell it, hands on a program for srun's standard input, and on the node prints the
answer as a visit of that node. It travels as a visit does (luggage.py): the modules from memory, the answer
in short lines.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from stair.console import show
from stair.doctor import traveller
from stair.doctor.luggage import modules_below

PROGRAM = """
sources, script, told = unpack({packed!r})
sys.meta_path.insert(0, Luggage(sources))
from stair.doctor.deep.remote import tell
tell(script, told)
"""
"""Follows traveller.py in what a node's Python reads."""


def program(script: ModuleType, told: Mapping[str, Any]) -> str:
    """What a node's Python reads to run `script.on_node(told, environment)` and tell what it returns."""
    sources = modules_below(script.__name__) | modules_below(__name__)
    packed = traveller.pack([sources, script.__name__, dict(told)])
    return sources[traveller.__name__] + PROGRAM.format(packed=packed)


def tell(script: str, told: Mapping[str, Any]) -> None:
    """Runs on the node, prints a visit whose `deep` is what came out."""
    name = node_name(os.environ)
    deep = import_module(script).on_node(told, os.environ)
    text = traveller.pack({"stair_doctor": 1, "name": name, "role": "compute", "deep": deep})
    size = traveller.CHUNK
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    for number, chunk in enumerate(chunks, 1):
        show(f"{traveller.MARK} {name} {number} {len(chunks)} {chunk}")


def node_name(environment: Mapping[str, str]) -> str:
    """As Slurm calls this node."""
    return environment.get("SLURMD_NODENAME") or socket.gethostname()
