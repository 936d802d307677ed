"""What stands against a run here, on nodes and in images: the first broken link, named, with its cure."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stair.console import paint, run_command, say, show, width
from stair.errors import UsageError

if TYPE_CHECKING:
    from stair.doctor.finding import Diagnosis
    from stair.doctor.visit import Visit

EXITS = "exit codes: 0 fine, warnings included; 1 something will fail; 2 wrong use; 3 could not be checked"


def entry() -> int:
    """The console script."""
    return run_command(lambda: main(sys.argv[1:]))


def main(words: Sequence[str]) -> int:
    """Looks, judges and shows; returns the exit code. Raises StairError for wrong use."""
    asked = _parser().parse_args(words)
    _check(asked)
    if asked.list_checks:
        return _list_checks(asked.json)
    from stair.doctor.checks import because, chosen_ids, diagnose, known_ids

    ids = chosen_ids(asked.only)  # a misspelt one is told before anything is looked at
    from stair.doctor.finding import exit_code, fold

    visits = _visits(asked)
    if asked.capture:
        _capture(asked.capture, visits, redacted=asked.redact)
    findings = diagnose(visits, ids)
    diagnoses, code = fold(findings, because()), exit_code(findings)
    checks = len(ids or known_ids())
    if asked.report:
        from stair.doctor.report import as_report

        show(as_report(diagnoses, visits, code, checks, secrets=_secrets(), users=_users()))
    elif asked.json:
        _show_json(diagnoses, visits, code)
    else:
        from stair.doctor.show import as_lines

        for text, colour in as_lines(diagnoses, visits, checks, width()):
            show(paint(text, colour))
    return code


def _visits(asked: argparse.Namespace) -> tuple[Visit, ...]:
    """What is there to judge: replayed, or seen now. Raises StairError."""
    if asked.replay:
        from stair.doctor.capture import read_captures

        return read_captures(asked.replay)
    from stair.doctor.visit import Order, visit_here, with_expected_lock
    from stair.origin import CHECKOUT

    image = os.path.abspath(asked.image) if asked.image else ""
    folder = os.path.abspath(asked.run_folder)
    order = Order(image, asked.render, folder, asked.timeout, asked.gpus_per_node)
    if not (asked.nodes or asked.nodelist or asked.all_nodes):
        visits: tuple[Visit, ...] = (visit_here(order),)
    else:
        from stair.doctor.fleet import Asked, visit_nodes

        names = ("nodes", "nodelist", "all_nodes", "partition", "account", "gpus_per_node")
        which = Asked(**{name: getattr(asked, name) for name in names}, wait_s=asked.wait)
        role = "here" if os.environ.get("SLURM_JOB_ID") else "login"
        # This host first: a node's clock may then be ahead of it, never behind. The image is for the nodes.
        here = visit_here(Order(folder=folder, timeout_s=asked.timeout), role=role)
        visits = (here, *visit_nodes(which, order, os.environ))
    visits = tuple(with_expected_lock(visit, CHECKOUT) for visit in visits)
    if asked.deep:
        visits = _deep(visits, asked, image)
    return visits


def _deep(visits: tuple[Visit, ...], asked: argparse.Namespace, image: str) -> tuple[Visit, ...]:
    """The same visits with what was measured: on the nodes where there are any, else here."""
    from stair.doctor.deep.deepen import deepen_here, deepen_nodes
    from stair.doctor.srun import Party

    images = tuple(filter(None, (image, asked.train_image and os.path.abspath(asked.train_image))))
    pictures = os.path.abspath(asked.pictures) if asked.pictures else ""
    if len(visits) == 1:
        return (deepen_here(visits[0], images, pictures=pictures),)
    party = Party(
        partition=asked.partition,
        account=asked.account,
        gres=f"gpu:{asked.gpus_per_node}" if asked.gpus_per_node else "",
        job=os.environ.get("SLURM_JOB_ID", ""),
    )
    return deepen_nodes(
        visits,
        party,
        images,
        gpus_per_node=asked.gpus_per_node,
        pictures=pictures,
        wait_s=asked.wait,
    )


def _capture(file: Path, visits: tuple[Visit, ...], *, redacted: bool) -> None:
    from stair.doctor.capture import plain, write_capture

    trees = plain(visits)
    if redacted:
        from stair.doctor.redact import redact

        trees = redact(trees, users=_users(), secrets=_secrets())
    write_capture(file, trees)
    say(f"{file}: {len(visits)} {'place' if len(visits) == 1 else 'places'}, for --replay")


def _show_json(diagnoses: Sequence[Diagnosis], visits: tuple[Visit, ...], code: int) -> None:
    import json
    from dataclasses import asdict

    from stair.doctor.capture import plain
    from stair.doctor.visit import SCHEMA

    tree = {
        "stair_doctor": SCHEMA,
        "exit": code,
        "diagnoses": [asdict(diagnosis) for diagnosis in diagnoses],
        "visits": plain(visits),
    }
    show(json.dumps(tree, indent=1))


def _list_checks(as_json: bool) -> int:
    from stair.doctor.checks import ALL
    from stair.doctor.finding import Check

    rows = [(c.id, c.about, c.where if isinstance(c, Check) else c.sides) for c in ALL]
    if as_json:
        import json

        keys = ("id", "about", "where")
        show(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=1))
        return 0
    wide = max(len(id) for id, _, _ in rows)
    for id, about, where in rows:
        show(f"{id:<{wide}}  {about}" + (f" ({where})" if where != "everywhere" else ""))
    return 0


def _users() -> list[str]:
    """Who asks, for the redaction; a number that has no name is none."""
    import getpass

    try:
        return [getpass.getuser()]
    except (KeyError, OSError):
        return []


def _secrets() -> list[str]:
    """The values of our variables that look like secrets, wherever in a sheet they turn up."""
    from stair.doctor.private import is_secret_name

    return [value for name, value in os.environ.items() if is_secret_name(name)]


def _check(asked: argparse.Namespace) -> None:
    """Raises UsageError for words that contradict each other."""
    ways = [name for name in ("nodes", "nodelist", "all_nodes") if getattr(asked, name)]
    if len(ways) > 1:
        both = " and ".join(f"--{name.replace('_', '-')}" for name in ways)
        raise UsageError(f"{both} exclude each other", hint="one of them")
    if asked.replay and (ways or asked.image or asked.deep or asked.capture):
        raise UsageError(
            "--replay looks at nothing new", hint="leave --image, --nodes, --deep, --capture away"
        )
    if asked.report and asked.json:
        raise UsageError("--report is text, not JSON", hint="--capture FILE --redact for JSON without names")
    if (asked.train_image or asked.pictures) and not asked.deep:
        raise UsageError(
            "--train-image and --pictures are about --deep", hint="add --deep, or leave them away"
        )
    if asked.redact and not asked.capture:
        raise UsageError("--redact is about --capture", hint="--report is always redacted")
    if asked.nodes < 0 or asked.gpus_per_node < 0 or asked.timeout <= 0 or asked.wait <= 0:
        raise UsageError("numbers below zero have no meaning here")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stair-doctor", description=__doc__, epilog=EXITS)
    add = parser.add_argument
    add("--image", default="", metavar="SIF", help="look into this image too, started as a job starts it")
    add("--render", default="", choices=("nvidia", "cpu"), help="what evaluations shall draw with")
    add("--run-folder", default="runs", metavar="DIR", help="where runs will be written (runs)")
    nodes = parser.add_argument_group("nodes of a Slurm cluster, by one srun; in a job, its nodes")
    nodes.add_argument("--nodes", type=int, default=0, metavar="N", help="any N nodes")
    nodes.add_argument("--nodelist", default="", metavar="LIST", help="these, such as n[1-4]")
    nodes.add_argument("--all-nodes", action="store_true", help="every node of the partition")
    nodes.add_argument("--partition", default="", metavar="P", help="the cluster's default; or A,B")
    nodes.add_argument("--account", default="", metavar="A")
    nodes.add_argument("--gpus-per-node", type=int, default=0, metavar="N", help="ask for GPUs, to see them")
    nodes.add_argument("--wait", type=float, default=60.0, metavar="S", help="for nodes to be free (60)")
    add("--deep", action="store_true", help="draw, compute, add up between nodes: minutes")
    add("--train-image", default="", metavar="SIF", help="with --deep: what computes and adds up")
    add("--pictures", default="", metavar="DIR", help="with --deep: keep what was drawn")
    add("--only", nargs="+", default=[], metavar="ID", help="these checks, or all that begin so: vulkan")
    add("--list-checks", action="store_true", help="what is checked")
    add("--timeout", type=float, default=5.0, metavar="S", help="for each thing that may hang (5)")
    add("--json", action="store_true", help="causes, consequences and facts for programs")
    add("--report", action="store_true", help="without names, to paste into an issue")
    add("--capture", type=Path, metavar="FILE", help="keep what was seen")
    add("--redact", action="store_true", help="without names in the capture")
    add("--replay", type=Path, nargs="+", metavar="FILE", help="judge what was kept, and nothing here")
    return parser
