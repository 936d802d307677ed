"""tools/fetch-weights: the artefacts that STAIR starts from, onto this disk."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from stair.console import say, show
from stair.errors import FINE, UsageError
from tools.disk import size_text
from tools.fetching.artefacts import ARTEFACTS, GROUPS, Artefact, choose
from tools.fetching.fetch import Work, carry_out, plan_work
from tools.fetching.hub import Unreachable, elsewhere, endpoint, list_files


def main(words: list[str] | None = None) -> int:
    """Exit code 0: all there, 1: refused, 2: wrong use, 3: the Hub cannot be reached."""
    parser = argparse.ArgumentParser(
        prog="fetch-weights",
        description="Fetches what STAIR starts from; goes on where it stopped, checks every hash.",
        epilog="HF_ENDPOINT names a mirror, HF_TOKEN a token. Names: "
        + ", ".join((*ARTEFACTS, *(f"{group} (= {' '.join(names)})" for group, names in GROUPS.items()))),
    )
    parser.add_argument("names", nargs="*", help="artefacts or groups of them; without any: the list")
    parser.add_argument(
        "--into", default="pretrained", help="folder to lay them out in (default: pretrained)"
    )
    parser.add_argument(
        "--dry", action="store_true", help="what, from where, how large, which licence; no fetching"
    )
    parser.add_argument("--verify", action="store_true", help="hash every file again, also those on record")
    parser.add_argument("--json", action="store_true", help="the plan as one JSON document on stdout")
    options = parser.parse_args(words)
    into = Path(options.into)
    if not options.names and not options.dry:
        raise UsageError(
            "which artefacts?", hint=f"recipe, or some of {', '.join(ARTEFACTS)}; --dry shows them"
        )
    artefacts = choose(options.names or list(ARTEFACTS))
    try:
        works = [plan_work(list_files(artefact, into), into, verify=options.verify) for artefact in artefacts]
    except Unreachable as error:
        if options.dry:
            _show([_row_without_network(artefact, into) for artefact in artefacts], options.json)
        raise Unreachable(error.what, hint=elsewhere(options.names or ["recipe"], into)) from None
    if options.dry or options.json:
        _show([_row(work) for work in works], options.json)
    if options.dry:
        return FINE
    for work in works:
        if work.missing:
            say(f"{work.listing.artefact.name}: licence: {work.listing.artefact.licence}")
    carry_out(works)
    return FINE


def _row(work: Work) -> dict[str, Any]:
    artefact = work.listing.artefact
    return {
        "name": artefact.name,
        "about": artefact.about,
        "from": f"{endpoint()}/{artefact.repository}@{work.listing.revision[:12]}",
        "into": str(work.folder),
        "files": len(work.listing.files),
        "bytes": work.listing.size,
        "to_fetch": work.bytes_left,
        "licence": artefact.licence,
        "gated": work.listing.gated,
    }


def _row_without_network(artefact: Artefact, into: Path) -> dict[str, Any]:
    return {
        "name": artefact.name,
        "about": artefact.about,
        "from": f"{endpoint()}/{artefact.repository}",
        "into": str(into / artefact.folder),
        "files": None,
        "bytes": int(artefact.typical_gb * 1e9),
        "to_fetch": None,
        "licence": artefact.licence,
        "gated": None,
    }


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        show(json.dumps(rows, indent=2))
        return
    for row in rows:
        size = size_text(row["bytes"])
        left = "" if row["to_fetch"] is None else f", {size_text(row['to_fetch'])} to fetch"
        show(f"{row['name']}: {row['about']}")
        show(f"  from     {row['from']}")
        show(f"  into     {row['into']}")
        show(f"  size     {size}{left}" if row["files"] is not None else f"  size     about {size}")
        show(f"  licence  {row['licence']}{'  GATED: accept it first' if row['gated'] else ''}")
