"""`stair-report RUN`: what came out of a run, as a table, and as files in its folder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from stair import console
from stair.errors import FAILED


def entry() -> int:
    """The installed command."""
    return console.run_command(lambda: main(sys.argv[1:]))


def main(words: Sequence[str]) -> int:
    """0 fine, 1 some episodes ended in errors, 3 nothing to report."""
    asked = _parser().parse_args(words)

    from stair.evaluate.report import read_report, write_report
    from stair.evaluate.report_text import COLUMNS, as_json, rows

    report = read_report(asked.run)
    page = write_report(report)
    if asked.json:
        import json

        console.show(json.dumps(as_json(report), indent=2, ensure_ascii=False))
    else:
        for evaluation in report.evaluations:
            title = " · ".join(
                part for part in (evaluation.name, evaluation.settings.get("policy", "")) if part
            )
            console.show_table(title, COLUMNS, rows(evaluation))
        console.show(f"report: {page}")
    if asked.open == "yes":
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    return FAILED if report.errors else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stair-report", description=__doc__)
    parser.add_argument("run", type=Path, help="run folder of an evaluation, or of a chain with one in it")
    parser.add_argument("--json", action="store_true", help="print the report as JSON instead of a table")
    parser.add_argument("--open", choices=("yes", "no"), default="no", help="show the page in a browser")
    return parser


if __name__ == "__main__":
    sys.exit(entry())
