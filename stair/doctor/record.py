"""A visit with what was found there, as it is left in a run folder.

Takes a Visit, hands on its findings, each cause before its consequences, and a tree that is a capture file
too: `stair-doctor --replay` reads it. The surprise: findings are stored as they were judged then, by the code
of that day; a replay judges the facts anew.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stair.doctor.finding import Finding

if TYPE_CHECKING:
    from stair.doctor.visit import Visit


def judge(visit: Visit) -> tuple[Finding, ...]:
    """All findings about a visit; the first one is the first cause, if any is an error.

    A host that is a container itself, of Docker, is the host to us: what it lacks, no `--nv` brings.
    """
    from stair.doctor.checks import because, diagnose
    from stair.doctor.finding import fold

    if visit.host is not None:
        visit = replace(visit, host={**visit.host, "inside": ""})
    diagnoses = fold(diagnose([visit]), because())
    return tuple(one for diagnosis in diagnoses for one in (diagnosis.cause, *diagnosis.consequences))


def as_tree(visit: Visit, findings: tuple[Finding, ...]) -> dict[str, Any]:
    """Plain values for a file."""
    from stair.doctor.visit import SCHEMA, to_json

    return {
        "stair_doctor": SCHEMA,
        "visits": [to_json(visit)],
        "findings": [asdict(finding) for finding in findings],
    }


def read_findings(file: Path) -> tuple[Finding, ...]:
    """The findings of such a file; none of one that is missing or damaged."""
    try:
        return tuple(Finding(**tree) for tree in json.loads(file.read_text())["findings"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def in_words(finding: Finding) -> str:
    """`seen: means [id]`, in one line."""
    words = f"{finding.seen}: {finding.means}" if finding.means else finding.seen
    return " ".join(f"{words} [{finding.id}]".split())


def cure_of(finding: Finding) -> str:
    """What to do, with the command where there is one, in one line."""
    return " ".join(": ".join(part for part in (finding.cure, finding.command) if part).split())
