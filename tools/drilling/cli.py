"""tools/drills: brings clusters up, does the drills on each, prints the table, takes all down again.

Progress goes to stderr, the table to stdout. The surprise: the disk that runs full is mounted before its
cluster comes up, because nodes do not see what is mounted later.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from stair.console import run_command, say, show, show_table
from stair.errors import FAILED, FINE, UsageError, unknown
from tools.devslurm import life
from tools.devslurm.shape import Shape
from tools.drilling.drills import DRILLS, Drill
from tools.drilling.site import Site, mount_small, unmount_small
from tools.drilling.table import COLUMNS, Reference, Row, as_json, as_markdown, rehearse

DEFAULT_ROOT = Path("~/.cache/stair/drills")
IMAGE = Path(__file__).resolve().parents[2] / "build/stair-train-cpu.sif"
GRACE_S = 60
"""Of preempted jobs: enough to save themselves on a machine that is busy with other things."""
SMALL_MB = 16


def entry() -> None:
    """What the script tools/drills calls."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # in order: clusters and disks are taken down
    sys.exit(run_command(lambda: main(sys.argv[1:])))


def main(words: Sequence[str]) -> int:
    """0 when every line of the table holds, else 1."""
    asked = _parser().parse_args(words)
    chosen = choose(asked.only, quick=asked.quick)
    root = Path(asked.root).expanduser().resolve()
    kinds = ["on", "off"] if asked.accounting == "both" else [asked.accounting]
    started = time.monotonic()
    rows: list[Row] = []
    reference: Reference | None = None
    try:
        for kind in kinds:
            reference = _on_a_cluster(kind, root, asked, chosen, reference, rows)
    finally:  # an interrupted table shows what there is
        _print(rows, asked)
    if not asked.keep:
        shutil.rmtree(root, ignore_errors=True)
    broken = [row for row in rows if not row.holds]
    minutes = (time.monotonic() - started) / 60
    say(f"{len(rows) - len(broken)} of {len(rows)} drills ended as they must, in {minutes:.0f} min")
    return FAILED if broken else FINE


def _print(rows: Sequence[Row], asked: argparse.Namespace) -> None:
    if asked.json:
        show(json.dumps(as_json(rows), indent=2, ensure_ascii=False))
    elif asked.markdown:
        show(as_markdown(rows))
    else:
        for kind in dict.fromkeys(row.accounting for row in rows):
            some = [row.cells() for row in rows if row.accounting == kind]
            show_table(f"accounting {kind}", COLUMNS, some)


def choose(names: Sequence[str], *, quick: bool) -> list[Drill]:
    """The drills asked for, the undisturbed run always first. Raises UsageError for unknown names."""
    known = {drill.name: drill for drill in DRILLS}
    for name in names:
        if name not in known:
            raise unknown("drill", name, known)
    if names and quick:
        raise UsageError("--only and --quick exclude each other", hint="one of them")
    wanted = [d for d in DRILLS if (d.name in names if names else d.quick or not quick)]
    return wanted if DRILLS[0] in wanted else [DRILLS[0], *wanted]


def _on_a_cluster(
    kind: str,
    root: Path,
    asked: argparse.Namespace,
    chosen: Sequence[Drill],
    reference: Reference | None,
    rows: list[Row],
) -> Reference | None:
    """Does the drills on a cluster with or without accounting; returns what the undisturbed run computed."""
    with ExitStack() as stack:
        folder = root / "work"
        small = mount_small(folder / "small", SMALL_MB)
        if not asked.keep:
            stack.callback(unmount_small, small)
        say(f"accounting {kind}: a cluster comes up in {root / kind}")
        cluster = life.up(root / kind, Shape(accounting=kind == "on", grace_s=GRACE_S))
        if not asked.keep:
            stack.callback(life.down, root / kind, purge=True)
        site = Site(cluster, folder, Path(asked.image).resolve(), small).prepare()
        site.tidy()
        for number, (row, found) in enumerate(rehearse(chosen, site, reference, say), 1):
            reference = found
            rows.append(row)
            mark = "as expected" if row.holds else "NOT AS EXPECTED"
            say(f"{kind:<3} {number}/{len(chosen)} {row.drill}: {' · '.join(row.cells()[3:])} s: {mark}")
    return reference


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tools/drills",
        description="Disturbs a training on a real Slurm in every way and says whether it ended as it must.",
        epilog="drills: " + ", ".join(drill.name for drill in DRILLS),
    )
    parser.add_argument("--accounting", choices=["on", "off", "both"], default="both")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="some drills")
    parser.add_argument("--quick", action="store_true", help="those that run in make test")
    parser.add_argument("--json", action="store_true", help="the table for programs")
    parser.add_argument("--markdown", action="store_true", help="the table for documents")
    parser.add_argument("--keep", action="store_true", help="leave clusters and runs as they are at the end")
    parser.add_argument("--root", default=str(DEFAULT_ROOT), metavar="DIR", help=f"default: {DEFAULT_ROOT}")
    parser.add_argument("--image", default=str(IMAGE), metavar="SIF", help="the train image, variant cpu")
    return parser
