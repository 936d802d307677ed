"""stair-doctor: looks at this machine and says what will break, why, and what cures it.

Exit codes: 0 fine (warnings included), 1 something will fail, 3 something could not be checked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from stair.console import run_command, say, show
from stair.errors import StairError

MARKS = {"fine": "✓", "note": "·", "warning": "!", "error": "✗", "unknown": "?"}


def entry() -> int:
    """The console script."""
    return run_command(lambda: main(sys.argv[1:]))


def main(words: Sequence[str]) -> int:
    """Probes, diagnoses and shows. Raises StairError for facts that cannot be read."""
    asked = _parser().parse_args(words)
    from stair.doctor import probe
    from stair.doctor.checks import diagnose
    from stair.doctor.finding import exit_code

    if asked.facts:
        facts = _read_facts(asked.facts)
    else:
        say("looking at this machine; importing torch may take a moment")
        facts = probe.collect(str(asked.run_folder), asked.timeout)
    findings = diagnose(facts)
    if asked.json:
        import json
        from dataclasses import asdict

        shown = {"facts": facts, "findings": [asdict(finding) for finding in findings]}
        show(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        _draw(facts, findings)
    return exit_code(findings)


def _draw(facts, findings) -> None:
    from stair.console import show_table

    rows = [(MARKS[finding.level], finding.id, finding.seen) for finding in findings]
    show_table(f"{facts['host']} at {facts['time']}", ("", "check", "seen"), rows)
    asking = [finding for finding in findings if finding.level in ("error", "unknown", "warning")]
    for finding in asking:
        show(f"\n{MARKS[finding.level]} {finding.level} {finding.id}\n  seen   {finding.seen}")
        for name in ("means", "cure"):
            if getattr(finding, name):
                show(f"  {name:<6} {getattr(finding, name)}")
    if not asking:
        show("nothing to cure")


def _read_facts(path: Path):
    import json

    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StairError(
            f"{path} holds no facts: {error}", hint="python -m stair.doctor.probe > FILE"
        ) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stair-doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="facts and findings as JSON")
    parser.add_argument(
        "--run-folder", type=Path, default=Path("runs"), metavar="DIR", help="where runs will be"
    )
    parser.add_argument(
        "--facts", type=Path, metavar="FILE", help="judge recorded facts instead of this machine"
    )
    parser.add_argument("--timeout", type=float, default=60.0, metavar="S", help="limit of each probe")
    return parser
