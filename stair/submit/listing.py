"""The settings of a job as rows for people: dotted name, type, value and the sentence about it.

Takes a dataclass instance, hands on Setting rows. The sentences are the string literals that stand under
the fields in the source, read with `ast`: they are not part of the classes at run time.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
from collections.abc import Iterator
from typing import Any


@dataclasses.dataclass(frozen=True)
class Setting:
    """One value that can be overridden."""

    key: str
    type: str
    value: Any
    about: str = ""


def settings_of(config: Any, prefix: str = "") -> Iterator[Setting]:
    """Walks a configuration's leaves in the order they are written."""
    sentences = _sentences(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        key = f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            yield from settings_of(value, f"{key}.")
        else:
            yield Setting(key, str(field.type), value, sentences.get(field.name, ""))


@functools.cache
def _sentences(config: type) -> dict[str, str]:
    try:
        body = ast.parse(inspect.getsource(config)).body[0].body  # type: ignore[attr-defined]
    except (OSError, SyntaxError):  # the source is not at hand, as in a zipped package
        return {}
    found = {}
    for above, here in itertools.pairwise(body):
        literal = isinstance(here, ast.Expr) and isinstance(here.value, ast.Constant)
        if literal and isinstance(above, ast.AnnAssign) and isinstance(above.target, ast.Name):
            found[above.target.id] = " ".join(str(here.value.value).split())  # type: ignore[attr-defined]
    return found
