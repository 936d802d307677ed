"""`stair-report RUN`: how a run stands and what came out of it; the latter also as files in its folder."""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stair import console
from stair.errors import FAILED

if TYPE_CHECKING:
    from stair.evaluate.comparison import Comparison
    from stair.evaluate.report import Report
    from stair.report.status import RunStatus


def entry() -> int:
    """The installed command."""
    gc.disable()  # thousands of members are made and none thrown away; looking for garbage costs a tenth
    return console.run_command(lambda: main(sys.argv[1:]))


def main(words: Sequence[str]) -> int:
    """0 fine or still at work, 1 something failed, 2 no such run, 3 could not check."""
    asked = _parser().parse_args(words)
    if asked.watch:
        gc.enable()  # it may take days
    status, report = _look(asked)
    page = _write(report)
    compared = _compare(report, asked.against) if asked.against else []
    if asked.json:
        _show_json(status, report, compared)
    else:
        if status is not None:
            _show_status(status)
        _show_report(report, page)
        _show_compared(compared, asked)
    if asked.open == "yes" and page is not None:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    if report is not None and report.errors:
        return FAILED
    return status.exit_code if status is not None else 0


def _look(asked: argparse.Namespace) -> tuple[RunStatus | None, Report | None]:
    """An evaluation by hand has a report and no status. Raises NoSuchRun for what has neither."""
    from stair.evaluate.report import NothingToReport, read_report
    from stair.report.facts import NoSuchRun
    from stair.report.look import look
    from stair.report.watch import watch

    no_status: NoSuchRun | None = None
    status = report = None
    try:
        status = watch(lambda: look(asked.run)) if asked.watch else look(asked.run)
    except NoSuchRun as error:
        no_status = error
    try:
        report = read_report(asked.run)
    except NothingToReport:
        if no_status is not None:
            raise no_status from None
    return status, report


def _write(report: Report | None) -> Path | None:
    """Writes the report's files. A full or read-only folder is no reason not to show the status."""
    from stair.errors import StairError
    from stair.evaluate.report import write_report

    if report is None:
        return None
    try:
        return write_report(report)
    except StairError as error:
        console.say(f"the report was not written: {error}")
        return None


def _compare(report: Report | None, against: Path) -> list[Comparison]:
    """All episodes of this run against all of another's. Raises NothingToReport when one has none."""
    from stair.errors import StairError
    from stair.evaluate.comparison import compare
    from stair.evaluate.report import read_report

    other = read_report(against)
    if report is None:
        raise StairError("this run has no episodes to compare yet", hint="evaluate it first")
    left, right = ([r for e in side.evaluations for r in e.records] for side in (report, other))
    compared = compare(left, right)
    if not compared:
        raise StairError(f"{against} has no task in common with this run", hint="compare the same tasks")
    return compared


def _show_json(status: RunStatus | None, report: Report | None, compared: list[Comparison]) -> None:
    from stair.evaluate.comparison import as_json as comparison_as_json
    from stair.evaluate.report_text import as_json as report_as_json
    from stair.report.show import as_json

    tree = as_json(status) if status is not None else {}
    told = report_as_json(report) if report is not None else {"evaluations": [], "trainings": []}
    if compared:
        told["comparison"] = [comparison_as_json(comparison) for comparison in compared]
    console.show(json.dumps({**told, **tree}, indent=2, ensure_ascii=False))


def _show_status(status: RunStatus) -> None:
    from stair.report.show import as_lines

    lines = as_lines(status)
    if not sys.stdout.isatty():
        console.show("\n".join(words for words, _ in lines))
        return
    from rich.console import Console

    from stair.report.watch import text_of

    Console().print(text_of(lines))


def _show_report(report: Report | None, page: Path | None) -> None:
    if report is None:
        return
    from stair.evaluate.report_text import COLUMNS, rows

    for evaluation in report.evaluations:
        title = " · ".join(part for part in (evaluation.name, evaluation.settings.get("policy", "")) if part)
        console.show_table(title, COLUMNS, rows(evaluation))
        if needed := [
            f"{task.name} {task.episodes_for_5_points}" for task in evaluation.tasks if task.episodes
        ]:
            console.show(f"episodes for ± 5 points at these rates: {', '.join(needed)}")
    if page is not None:
        console.show(f"report: {page}")


def _show_compared(compared: list[Comparison], asked: argparse.Namespace) -> None:
    if not compared:
        return
    rows = [
        (comparison.name, str(comparison.last.points), comparison.last.in_words(), comparison.ever.in_words())
        for comparison in compared
    ]
    title = f"{asked.run} minus {asked.against}, on the grid points that both have finished"
    console.show_table(title, ("task", "n", "success", "ever"), rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stair-report", description=__doc__)
    parser.add_argument("run", type=Path, help="run folder of a submission, or of an evaluation by hand")
    parser.add_argument(
        "--watch", action="store_true", help="redraw until the run ends; Ctrl-C stops watching"
    )
    parser.add_argument(
        "--against", type=Path, metavar="RUN", help="compare with another run, point by point of the grid"
    )
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")
    parser.add_argument("--open", choices=("yes", "no"), default="no", help="show the page in a browser")
    return parser


if __name__ == "__main__":
    sys.exit(entry())
