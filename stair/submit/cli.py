"""stair-submit: a recipe and some words become a job, or with --dry the plan of one.

The one surprise: nothing heavy is imported before it is known what is wanted, because `--help` is asked
for on busy login nodes. The recipes' `about` lines are found by reading lines, not by parsing YAML.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stair.console import run_command, say, show
from stair.errors import FAILED, FINE, UsageError

if TYPE_CHECKING:
    from stair.submit.plan import Plan

RECIPES = os.path.join(os.path.dirname(os.path.dirname(__file__)), "recipes")
OVERRIDES = """\
overrides, laid over the recipe; YAML values:
  --train.steps 100            a setting of a recipe with one step
  --stage1.train.steps 100     the same in a chain: the step's name comes first
  --seed N                     the training seed of every training step
  --processes N, --nodes N     processes per node and nodes of every training step
  --hours N                    the time limit of every step
  --policy DIR|ws://HOST:PORT  of every evaluation: a model folder, or a server that is there already
  --layout NAME                where its server works and its simulators draw: colocated, split, cpu-render
`stair-submit RECIPE --help` lists the settings of a recipe.

The same command on the same run folder goes on where it stopped."""


def entry() -> int:
    """The console script."""
    gc.disable()  # nothing that makes a plan is thrown away before the end, and looking costs a tenth
    return run_command(lambda: main(sys.argv[1:]))


def main(words: Sequence[str]) -> int:
    """Reads the words, makes the plan, and shows or sends it. Raises StairError."""
    if words[:1] == ["--cancel"] and len(words) == 2:
        from pathlib import Path

        from stair.submit.cancel import cancel

        return cancel(Path(words[1]))
    parser = _parser()
    if not words or words[0] in ("-h", "--help"):
        show(parser.format_help())
        return FINE
    asked, rest = parser.parse_known_args(words)
    if asked.help:
        from stair.submit.show import show_recipe

        show_recipe(asked.recipe)
        return FINE
    return _submit(asked, rest)


def _submit(asked: argparse.Namespace, rest: list[str]) -> int:
    from pathlib import Path

    from stair.cluster.profile import read_profile
    from stair.settings import parse_overrides
    from stair.submit.prepare import prepare
    from stair.submit.recipe import make_chain, read_recipe
    from stair.submit.show import show_plan, show_verdict

    if asked.json and not asked.dry:
        raise UsageError("--json shows a plan and sends nothing", hint="add --dry")
    name = Path(asked.recipe).stem if asked.recipe.endswith(".yaml") else asked.recipe
    chain = make_chain(name, read_recipe(asked.recipe), parse_overrides(rest))
    profile = read_profile(asked.cluster)
    run = Path(asked.run or f"runs/{name}").absolute()
    prepared = prepare(chain, profile, run, cwd=Path.cwd(), environment=os.environ)
    plan, verdict = prepared.plan, prepared.verdict
    if profile.executor == "local":
        from stair.submit.checkup import check_machine
        from stair.submit.preflight.verdict import join

        verdict = join([verdict, check_machine(plan)])
    if asked.dry and asked.json:
        sys.stdout.write(plan.text())
    elif asked.dry:
        show_plan(plan)
    show_verdict(verdict)
    if asked.dry:
        return FINE
    if profile.executor == "slurm":
        return _to_slurm(plan)
    return _here(plan, detach=asked.detach)


def _to_slurm(plan: Plan) -> int:
    import shlex

    from stair.submit.send_slurm import send_to_slurm

    sent = send_to_slurm(plan)
    if not sent:
        say(f"nothing to send: every step of {plan.run} is done or held by a job that is alive")
        return FINE
    show(
        f"sent {len(sent)} batch{'es' if len(sent) > 1 else ''}, jobs {', '.join(line.job for line in sent)}"
    )
    run = shlex.quote(plan.run)
    show(f"  stair-report {run} --watch\n  stair-submit --cancel {run}")
    return FINE


def _here(plan: Plan, *, detach: bool) -> int:
    from stair.submit.send import Listener, Tail, follow, send

    gc.enable()  # from here on it may take hours
    run = plan.run
    with Listener() as listener:
        tail = Tail(plan)
        job = send(plan, listener)
        if detach and not listener.asked:
            say(
                f"job {job.job_id} works in {run}; logs are in {run}/logs, "
                f"`stair-submit --cancel {run}` stops it"
            )
            return FINE
        say(f"job {job.job_id} works in {run}; Ctrl-C stops it in order")
        outcome = follow(tail, job, listener)
    if outcome.state == "done":
        show(f"done: {run}")
        return FINE
    if outcome.state == "stopped":
        say(f"stopped in step {outcome.step}; what it saved is in {run}")
        say("  try: the same command goes on from there")
        return FAILED
    say(f"error: {outcome.what}\n  try: {outcome.hint}")
    return FAILED


def recipes() -> list[tuple[str, str]]:
    """Every recipe that can be submitted, with its sentence."""
    found = []
    for file in os.listdir(RECIPES):
        if file.endswith(".yaml"):
            about = _about(os.path.join(RECIPES, file))
            if about:
                found.append((file[: -len(".yaml")], about))
    return sorted(found)


def _about(path: str) -> str:
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("about:"):
                return line[len("about:") :].strip().strip("\"'")
    return ""


def _parser() -> argparse.ArgumentParser:
    known = recipes()
    width = max((len(name) for name, _ in known), default=0)
    listed = "\n".join(f"  {name:<{width}}  {about}" for name, about in known)
    parser = argparse.ArgumentParser(
        prog="stair-submit",
        description=f"Submits a recipe, or shows what would be submitted.\n\nrecipes:\n{listed}",
        epilog=OVERRIDES,
        usage="stair-submit RECIPE [--run DIR] [--cluster NAME] [--dry] [--json] [--detach] [overrides]\n"
        "       stair-submit --cancel RUN",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument(
        "recipe", metavar="RECIPE", help="a name of the list above, or the path of a YAML file"
    )
    parser.add_argument("--run", metavar="DIR", default="", help="the run folder; default runs/RECIPE")
    parser.add_argument(
        "--cluster", metavar="NAME", default="local", help="a profile of slurm/; default local"
    )
    parser.add_argument("--dry", action="store_true", help="show the plan and stop")
    parser.add_argument("--json", action="store_true", help="with --dry: the plan as JSON")
    parser.add_argument("--detach", action="store_true", help="return at once; the job goes on")
    parser.add_argument("-h", "--help", action="store_true", help="this text, or after RECIPE its settings")
    return parser
