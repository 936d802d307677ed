"""A recipe's name and some words become a Chain.

A recipe is a YAML file: `kind`, a one-line `about`, and the tree of one job; a `kind: chain` holds such
trees under `steps`, in order, by name. `base: NAME` lays a recipe, or a step, over another file of the
same folder. A file without `about` is only a base. Overrides are laid over the merged tree, and the whole
of it is checked before anything happens.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stair.errors import UsageError, unknown
from stair.settings import Tree, build, override, read_yaml
from stair.submit.job import DECIDED, KINDS, Chain, NamedStep
from stair.submit.listing import settings_of

HOME = Path(__file__).parent.parent / "recipes"
SHORT = ("nodes", "processes", "hours", "seed", "policy", "layout")
"""Overrides that need no dotted name: they reach every training step, `hours` every step, `policy` and
`layout` every evaluation."""


def read_recipe(name: str) -> Tree:
    """The merged tree of a recipe named `name`, or of a YAML file at that path.

    Raises UsageError naming the nearest recipe when there is none.
    """
    path = Path(name)
    if path.suffix == ".yaml":
        return _with_base(read_yaml(path), (path.stem,))
    if not (HOME / f"{name}.yaml").exists():
        raise unknown("recipe", name, recipe_names())
    tree = _with_base(read_yaml(HOME / f"{name}.yaml"), (name,))
    if "about" not in tree:
        raise UsageError(f"'{name}' is only a base of other recipes", hint="stair-submit --help lists them")
    return tree


def recipe_names() -> list[str]:
    """Every recipe that can be submitted."""
    return sorted(path.stem for path in HOME.glob("*.yaml") if "about" in read_yaml(path))


def make_chain(name: str, tree: Tree, pairs: Sequence[tuple[str, Any]]) -> Chain:
    """Lays overrides over a recipe's tree and decodes all of it.

    Raises UsageError at the first unknown key or value of a wrong type.
    """
    kind = tree.get("kind", "")
    alone = kind != "chain"
    steps = {kind: tree} if alone else tree.get("steps", {})
    if not isinstance(steps, Mapping) or not steps:
        raise UsageError(f"recipe '{name}' has no steps", hint="steps: {name: {kind: train, train: …}}")
    jobs = {step: _kind(step, subtree) for step, subtree in steps.items()}
    for key, value in pairs:
        for spot in _spots(key, jobs, alone):
            steps = override(dict(steps), [(spot, value)])
    return Chain(name, tuple(_step(step, subtree, alone) for step, subtree in steps.items()), alone)


def merge(low: Tree, high: Tree) -> Tree:
    """`high` laid over `low`, mapping by mapping; lists and values are replaced."""
    result = dict(low)
    for key, value in high.items():
        below = result.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        result[key] = merge(below, value) if both else value  # type: ignore[arg-type]
    return result


def _with_base(tree: Tree, seen: tuple[str, ...]) -> Tree:
    tree = dict(tree)
    base = tree.pop("base", None)
    if base is not None:
        if base in seen:
            raise UsageError(f"recipes are each other's base: {' → '.join((*seen, base))}")
        path = HOME / f"{base}.yaml"
        if not path.exists():
            raise unknown("base recipe", str(base), (path.stem for path in HOME.glob("*.yaml")))
        low = {k: v for k, v in _with_base(read_yaml(path), (*seen, base)).items() if k != "about"}
        tree = merge(low, tree)
    if isinstance(tree.get("steps"), dict):
        steps = tree["steps"].items()
        tree["steps"] = {name: _with_base(s, seen) if isinstance(s, dict) else s for name, s in steps}
    return tree


def _kind(step: str, tree: Any) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", step):
        raise UsageError(f"'{step}' cannot name a step", hint="small letters, digits and underscores")
    kind = tree.get("kind") if isinstance(tree, Mapping) else None
    if kind not in KINDS:
        raise unknown("kind of step", str(kind), KINDS)
    return kind


def _step(name: str, tree: Tree, alone: bool) -> NamedStep:
    kind = tree["kind"]
    body = {key: value for key, value in tree.items() if key not in ("kind", "about")}
    return NamedStep(name, kind, build(KINDS[kind], body, where="" if alone else name))


def _spots(key: str, jobs: Mapping[str, str], alone: bool) -> list[str]:
    """The full dotted keys that one override means. Raises UsageError when nobody knows it."""
    if key in SHORT:
        return [spot for step, kind in jobs.items() for spot in _short(key, step, kind)]
    known = {
        setting.key if alone else f"{step}.{setting.key}"
        for step, kind in jobs.items()
        for setting in settings_of(KINDS[kind]())
    }
    own = key if alone else key.partition(".")[2]
    if own in DECIDED:
        raise UsageError(f"'--{key}' is decided by the plan", hint=DECIDED[own])
    branches = {name.rsplit(".", depth)[0] for name in known for depth in range(1, name.count(".") + 1)}
    if key not in known | branches:
        raise UsageError(f"unknown setting '--{key}'", hint=_nearest(key, known))
    return [f"{next(iter(jobs))}.{key}" if alone else key]


def _short(key: str, step: str, kind: str) -> list[str]:
    if key in ("policy", "layout"):
        return [f"{step}.{key}"] if kind == "eval" else []
    if key == "seed":
        return [f"{step}.train.seed", f"{step}.train.data.seed"] if kind == "train" else []
    return [f"{step}.resources.{key}"] if kind == "train" or key == "hours" else []


def _nearest(key: str, known: set[str]) -> str:
    names = sorted(known, key=lambda name: (name.count("."), name))  # the shallow ones first
    leaf = key.rpartition(".")[2]
    near = [name for name in names if name.endswith(f".{key}")]
    near += difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    near += [name for name in names if name.endswith(f".{leaf}")]
    if near:
        return f"did you mean '--{near[0]}'?"
    return "stair-submit RECIPE --help lists the settings of a recipe"
