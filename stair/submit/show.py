"""What a person sees of plans and recipes."""

from __future__ import annotations

import shlex
import textwrap

from stair.console import show, show_table
from stair.submit.job import DECIDED
from stair.submit.listing import settings_of
from stair.submit.plan import Plan, Step
from stair.submit.recipe import make_chain, read_recipe


def show_plan(plan: Plan) -> None:
    """Draws a plan: what runs where, after what, and the words of every command."""
    rows = [
        (step.name, step.kind, ", ".join(step.needs) or "-", _resources(step), _short(step.folder, plan))
        for step in plan.steps
    ]
    title = f"{plan.recipe} on {plan.cluster} ({plan.executor}), run folder {plan.run}"
    show_table(title, ("step", "kind", "after", "resources", "folder"), rows)
    for step in plan.steps:
        for name, argv in ((f"{step.name} (server)", step.server), (step.name, step.argv)):
            if argv:
                show(f"\n{name}:")
                words = textwrap.wrap(shlex.join(argv), 110, break_long_words=False, break_on_hyphens=False)
                show("\n".join(f"  {line}" for line in words))
    show("\nnothing was sent; leave --dry away to send it, or add --json for all of it")


def show_recipe(name: str) -> None:
    """Lists a recipe's settings with their values, types and sentences."""
    tree = read_recipe(name)
    chain = make_chain(name, tree, [])
    show(f"{name}: {tree.get('about', '')}\n")
    for step in chain.steps:
        prefix = "" if chain.alone else f"{step.name}."
        if prefix:
            show(f"step {step.name} ({step.kind})")
        for setting in settings_of(step.job):
            if setting.key in DECIDED:
                continue
            show(f"  --{prefix}{setting.key} {_value(setting.value)}   [{setting.type}]")
            if setting.about:
                show(textwrap.fill(setting.about, 104, initial_indent="      ", subsequent_indent="      "))


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return "'[" + ", ".join(str(item) for item in value) + "]'"
    return shlex.quote(str(value)) if isinstance(value, str) else str(value)


def _resources(step: Step) -> str:
    nodes = f"{step.nodes} nodes × " if step.nodes > 1 else ""
    processes = f"{step.processes} process" + ("es" if step.processes > 1 else "")
    return f"{nodes}{processes}, {step.hours:g} h"


def _short(folder: str, plan: Plan) -> str:
    return folder.replace(plan.run, "RUN", 1)
