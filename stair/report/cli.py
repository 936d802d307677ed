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
    from stair.evaluate.report.reading import Report
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
    report = _enrich(report, asked)
    page = _write(report)
    exported = _export(report, asked)
    if asked.json:
        _show_json(status, report)
    else:
        if status is not None:
            _show_status(status)
        _show_report(report, page)
        if exported:
            console.show(exported)
    if asked.open == "yes" and page is not None:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    if report is not None and report.errors:
        return FAILED
    return status.exit_code if status is not None else 0


def _look(asked: argparse.Namespace) -> tuple[RunStatus | None, Report | None]:
    """An evaluation by hand has a report and no status. Raises NoSuchRun for what has neither."""
    from stair.evaluate.report.reading import NothingToReport, read_report
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
    from stair.evaluate.report.reading import write_report

    if report is None:
        return None
    try:
        return write_report(report)
    except StairError as error:
        console.say(f"the report was not written: {error}")
        return None


def _enrich(report: Report | None, asked: argparse.Namespace) -> Report | None:
    """Adds what was asked for beside the run's own episodes. Raises StairError where it is not to be had,
    NothingToReport when another run has no episodes."""
    from dataclasses import replace

    from stair.errors import StairError, unknown

    wanted = asked.against or asked.against_real or asked.export
    if asked.export and asked.export[0] != "simpler":
        raise unknown("export format", asked.export[0], ["simpler"])
    if report is None:
        if wanted:
            raise StairError("this run has no episodes yet", hint="evaluate it first")
        return None
    report = replace(report, precision=asked.precision / 100)
    if asked.against:
        from stair.evaluate.numbers.comparison import compare_reports
        from stair.evaluate.report.reading import read_report

        other = read_report(asked.against)
        compared = compare_reports(report.evaluations, other.evaluations)
        report = replace(report, against=str(asked.against), comparison=compared)
    if asked.against_real:
        from stair.evaluate.numbers.real_robot import against_real, published, read_real

        table = published() if asked.against_real == "published" else read_real(Path(asked.against_real))
        report = replace(report, real=against_real(report, table))
    return report


def _export(report: Report | None, asked: argparse.Namespace) -> str:
    """Writes what `--export` asks for; returns what to say about it."""
    if not asked.export or report is None:
        return ""
    from stair.evaluate.report.simpler_names import export_simpler

    return export_simpler(report, Path(asked.export[1])).in_words()


def _show_json(status: RunStatus | None, report: Report | None) -> None:
    from stair.evaluate.report.tree import as_json as report_as_json
    from stair.report.show import as_json

    tree = as_json(status) if status is not None else {}
    told = report_as_json(report) if report is not None else {"evaluations": [], "trainings": []}
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
    from stair.evaluate.report import text

    for evaluation in report.evaluations:
        title = " · ".join(
            part for part in (evaluation.name, str(evaluation.settings.get("policy", ""))) if part
        )
        console.show_table(title, text.NARROW_COLUMNS, text.narrow_rows(evaluation))
        notes = [
            text.needed_in_words(evaluation, report.precision),
            *text.incomplete_in_words(evaluation),
            text.retried_in_words(evaluation),
            text.wall_in_words(evaluation),
        ]
        for note in filter(None, notes):
            console.show(note)
    if report.comparison:
        title = f"{report.run.path} minus {report.against}, on the grid points that both have finished"
        console.show_table(title, text.COMPARED_COLUMNS, text.compared_rows(report))
    if report.real:
        console.show_table("simulated / real success", text.REAL_COLUMNS, text.real_rows(report))
    if page is not None:
        console.show(f"report: {page}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stair-report", description=__doc__)
    parser.add_argument("run", type=Path, help="run folder of a submission, or of an evaluation by hand")
    parser.add_argument(
        "--watch", action="store_true", help="redraw until the run ends; Ctrl-C stops watching"
    )
    parser.add_argument(
        "--against", type=Path, metavar="RUN", help="compare with another run, point by point of the grid"
    )
    parser.add_argument(
        "--precision",
        type=_points,
        default=5.0,
        metavar="POINTS",
        help="tell how many episodes would make each interval ± this many points (5)",
    )
    parser.add_argument(
        "--against-real",
        metavar="TABLE",
        help="MMRV and Pearson against real success rates: a CSV or JSON file with policy, task, real, or"
        " `published` for SIMPLER's own",
    )
    parser.add_argument(
        "--export",
        nargs=2,
        metavar=("simpler", "DIR"),
        help="name the episodes as SimplerEnv does, for its metric scripts",
    )
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")
    parser.add_argument("--open", choices=("yes", "no"), default="no", help="show the page in a browser")
    return parser


def _points(word: str) -> float:
    points = float(word)  # argparse says what is wrong with a ValueError
    if not 0 < points < 50:
        raise argparse.ArgumentTypeError(f"{word} points; it takes more than 0 and less than 50")
    return points


if __name__ == "__main__":
    sys.exit(entry())
