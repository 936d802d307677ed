"""YAML files and dotted flags become one checked dataclass.

Takes a configuration class, a base tree (a recipe) and overrides such as `--train.steps 200`, hands on
an instance. The surprise: flags are laid over the tree *before* decoding, so a flag never loses the
siblings that the recipe gave. Unknown keys answer with the nearest known one. draccus does the typing.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from stair.errors import UsageError, unknown

T = TypeVar("T")
Tree = dict[str, Any]


def read_yaml(path: Path) -> Tree:
    """Reads a YAML mapping. Raises UsageError when it is missing or is no mapping."""
    import yaml

    try:
        tree = yaml.load(path.read_text(), Loader=_loader())
    except FileNotFoundError:
        raise UsageError(f"no configuration file {path}", hint="check the path") from None
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read {path}: {error}", hint="is it a YAML mapping?") from None
    if not isinstance(tree, dict):
        raise UsageError(f"{path} holds {type(tree).__name__}, not a mapping of settings")
    return tree


def parse_overrides(words: Sequence[str]) -> list[tuple[str, Any]]:
    """Reads `--a.b value`, `--a.b=value` and `--flag` (true) into dotted keys and YAML values."""
    import yaml

    pairs: list[tuple[str, Any]] = []
    words = list(words)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            raise UsageError(f"unexpected word '{word}'", hint="overrides look like --train.steps 200")
        key, equals, text = word[2:].partition("=")
        if not equals:
            text = words.pop(0) if words and not words[0].startswith("--") else "true"
        try:
            value = yaml.load(text, Loader=_loader())
        except yaml.YAMLError:
            value = text
        if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value):
            number = float(value)  # YAML 1.1 takes 1e-3 for a word
            value = int(number) if number.is_integer() else number
        pairs.append((key.replace("-", "_"), value))
    return pairs


def override(tree: Tree, pairs: Sequence[tuple[str, Any]]) -> Tree:
    """Returns a copy of `tree` with every dotted key set; siblings stay."""
    result = _copy(tree)
    for key, value in pairs:
        *parents, leaf = key.split(".")
        spot = result
        for parent in parents:
            child = spot.get(parent)
            spot[parent] = child = dict(child) if isinstance(child, Mapping) else {}
            spot = child
        spot[leaf] = value
    return result


def build(config: type[T], tree: Tree, *, where: str = "") -> T:
    """Decodes `tree` into `config`, every key known and every value of its type, or UsageError."""
    import draccus
    from draccus.utils import DecodingError, ParsingError

    _resolve_hints(config)
    check_keys(config, tree, where)
    try:
        return draccus.decode(config, tree)
    except (DecodingError, ParsingError, TypeError, ValueError) as error:
        key = ".".join(str(part) for part in getattr(error, "key_path", ()) or ())
        spot = ".".join(part for part in (where, key) if part) or config.__name__
        message = str(getattr(error, "message", "") or error).splitlines()[0]
        raise UsageError(f"bad value at '{spot}': {message}", hint="see the field's type") from None


def dump(config: Any) -> Tree:
    """The plain tree of a configuration: what `build` takes back unchanged."""
    import draccus

    return draccus.encode(config)  # type: ignore[return-value]


def check_keys(config: Any, tree: Any, where: str = "") -> None:
    """Raises UsageError at the first key of `tree` that `config` has no field for."""
    if not (dataclasses.is_dataclass(config) and isinstance(tree, Mapping)):
        return
    hints = _resolve_hints(config)
    names = {field.name for field in dataclasses.fields(config)}
    for key, value in tree.items():
        spot = f"{where}.{key}" if where else str(key)
        if key not in names:
            error = unknown("setting", str(key), names)
            raise UsageError(f"unknown setting '{spot}'", hint=error.hint)
        check_keys(_dataclass_in(hints[key]), value, spot)


@functools.cache
def _resolve_hints(config: Any) -> dict[str, Any]:
    """The types of a dataclass's fields, and of those within. They stay in the class instead of their text,
    which draccus would compile anew for every value (half of the time that decoding took)."""
    hints = typing.get_type_hints(config)
    config.__annotations__ = hints
    for hint in hints.values():
        inner = _dataclass_in(hint)
        if dataclasses.is_dataclass(inner):
            _resolve_hints(inner)
    return hints


def _loader() -> Any:
    """PyYAML's safe loader, the one in C where it was built: ten times faster."""
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _dataclass_in(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next((arm for arm in typing.get_args(hint) if dataclasses.is_dataclass(arm)), None)
    return hint


def _copy(tree: Tree) -> Tree:
    return {key: _copy(value) if isinstance(value, dict) else value for key, value in tree.items()}
