"""What a person sees of plans and recipes: plain text, since a table of rich costs a third of a dry run."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence

from stair.console import say, show
from stair.submit.batches import array_words
from stair.submit.job import DECIDED
from stair.submit.listing import settings_of
from stair.submit.plan import Batch, Plan, Step
from stair.submit.preflight.verdict import Verdict
from stair.submit.recipe import make_chain, read_recipe


def show_plan(plan: Plan) -> None:
    """Draws a plan: what runs where, after what, and the words of every command."""
    rows = [
        (step.name, step.kind, ", ".join(step.needs) or "-", _resources(step), _short(step.folder, plan))
        for step in plan.steps
    ]
    title = f"{plan.recipe} on {plan.cluster} ({plan.executor}), run folder {plan.run}"
    show(f"{title}\n")
    show(_in_columns([("step", "kind", "after", "resources", "folder"), *rows]))
    for image, digest in plan.images.items():
        show(f"image {image}: sha256 {digest}")
    if plan.snapshot:
        show(f"code  {plan.snapshot}")
    for step in plan.steps:
        for name, argv in ((f"{step.name} (server)", step.server), (step.name, step.argv)):
            if argv:
                show(f"\n{name}:")
                words = textwrap.wrap(shlex.join(argv), 110, break_long_words=False, break_on_hyphens=False)
                show("\n".join(f"  {line}" for line in words))
    for batch in plan.batches:
        show(f"\nbatch {batch.name}: {_words(batch)}\n")
        show(textwrap.indent(batch.script, "  "))
    show("\nnothing was sent; leave --dry away to send it, or add --json for all of it")


def _in_columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(f"  {line}".rstrip() for line in lines) + "\n"


def _words(batch: Batch) -> str:
    """The sbatch command of a batch; job ids are not known before it is sent."""
    words = ["sbatch", *array_words(batch, range(batch.first, batch.first + batch.count))]
    if batch.after:
        kind = "afterany" if batch.whatever_happens else "afterok"
        words += [f"--dependency={kind}:{':'.join(f'<{step}>' for step in batch.after)}"]
    return " ".join(words)


def show_verdict(verdict: Verdict) -> None:
    """Says where every step will run and what is to be known about it; raises what stands against it."""
    for line in verdict.show:
        say(line)
    for note in verdict.notes:
        say(f"note: {note}")
    if verdict.refusals:
        raise verdict.error()


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
    members = f"{step.members} members × " if step.members > 1 else ""
    gpus = f", {step.gpus} GPUs" if step.gpus else ""
    return f"{members}{nodes}{processes}{gpus}, {step.hours:g} h"


def _short(folder: str, plan: Plan) -> str:
    return folder.replace(plan.run, "RUN", 1)
