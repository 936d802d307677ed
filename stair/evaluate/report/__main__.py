"""`python -m stair.evaluate.report RUN`: table and page of what was evaluated; a chain's last step.

Beside `stair-report`, which people call: this one runs while its own run still goes on, so it says nothing
of how the run stands.
"""

from __future__ import annotations

import sys
from pathlib import Path

from stair import console
from stair.errors import FAILED, UsageError


def main() -> int:
    """0 fine, 1 some episodes ended in errors, 3 nothing to report."""
    if len(sys.argv) != 2:
        raise UsageError("one run folder is needed", hint="python -m stair.evaluate.report RUN")

    from stair.evaluate.report.reading import read_report, write_report
    from stair.evaluate.report.text import NARROW_COLUMNS, narrow_rows

    report = read_report(Path(sys.argv[1]))
    page = write_report(report)
    for evaluation in report.evaluations:
        console.show_table(evaluation.name, NARROW_COLUMNS, narrow_rows(evaluation))
    console.show(f"report: {page}")
    return FAILED if report.errors else 0


if __name__ == "__main__":
    sys.exit(console.run_command(main))
