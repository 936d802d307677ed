"""A block to paste into an issue: versions, findings, and the facts that a reader will ask for.

Takes a diagnosis and the visits, hands on markdown. Pure. The surprise: it is redacted as a whole and at the
end, text and facts by the same names.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Sequence
from typing import Any

import stair
from stair.doctor.finding import Diagnosis, Facts, Finding
from stair.doctor.redact import make_redactor
from stair.doctor.show import Line, as_lines, node_of
from stair.doctor.summary import traits
from stair.doctor.visit import Visit, to_json

SECTIONS = (
    *(
        "system",
        "python",
        "variables",
        "driver",
        "nvml",
        "cuda",
        "libraries",
        "vulkan",
        "egl",
        "apptainer",
        "slurm",
    ),
    *("shm", "memory", "limits", "nvoptix"),
)
"""What is told of a place; the rest only where a finding is about it."""
OF_FINDINGS = {"disk": "disks", "disks": "disks", "network": "network", "cpu": "cpu", "limits": "limits"}
FACTS_OF = 4
"""Places whose facts are told: those with findings first."""
REPORT_COLUMNS = 110


def as_report(
    diagnoses: Sequence[Diagnosis],
    visits: Sequence[Visit],
    code: int,
    checks: int,
    *,
    users: Iterable[str] = (),
    secrets: Iterable[str] = (),
) -> str:
    """The block, without names, addresses and secrets."""
    redactor = make_redactor([to_json(visit) for visit in visits], users=users, secrets=secrets)
    lines: list[Line] = as_lines(diagnoses, visits, checks, REPORT_COLUMNS)
    shown = "\n".join(redactor.text(text) for text, _ in lines)
    told = [
        f"**stair-doctor** {stair.__version__}, Python {platform.python_version()}, exit code {code}",
        f"```text\n{shown}\n```",
        "<details><summary>facts</summary>",
    ]
    places = sorted(visits, key=lambda visit: not _findings_of(diagnoses, visit))
    for visit in places[:FACTS_OF]:
        facts = redactor.tree(_facts(visit, _findings_of(diagnoses, visit)))
        name = redactor.text(visit.name)
        told.append(f"{name} ({visit.role})\n\n```json\n{_compact(facts)}\n```")
    if len(places) > FACTS_OF:
        rest = [
            f"{redactor.text(visit.name)}: {redactor.text(_in_words(visit))}" for visit in places[FACTS_OF:]
        ]
        told.append("\n".join(rest))
    return "\n\n".join([*told, "</details>"])


def _findings_of(diagnoses: Sequence[Diagnosis], visit: Visit) -> list[Finding]:
    every = [finding for each in diagnoses for finding in (each.cause, *each.consequences)]
    return [finding for finding in every if node_of(finding, [visit]) is not None and finding.level != "note"]


def _facts(visit: Visit, findings: Sequence[Finding]) -> dict[str, Any]:
    wanted = {*SECTIONS, *(OF_FINDINGS.get(each.id.partition(".")[0], "") for each in findings)}
    told = {
        side: {name: _without_success(name, value) for name, value in (sheet or {}).items() if name in wanted}
        for side, sheet in (("host", visit.host), ("image", visit.image))
    }
    rest = {
        "image_file": visit.image_file,
        "request": visit.request,
        "missing": visit.missing,
        "deep": visit.deep,
    }
    return {name: value for name, value in {**told, **rest}.items() if value}


def _without_success(name: str, value: Any) -> Any:
    """Of libraries that load, the version is enough."""
    if name != "libraries" or not isinstance(value, list):
        return value
    return [
        f"{each.get('name')} {each.get('version') or ''}".strip() if _loads(each) else each for each in value
    ]


def _loads(library: Facts) -> bool:
    return isinstance(library, dict) and bool(library.get("loads")) and not library.get("copies")


def _compact(facts: dict[str, Any]) -> str:
    """A line for each section."""
    lines = []
    for side, value in facts.items():
        if side in ("host", "image"):
            lines += [
                f"{side}.{name}: {json.dumps(each, ensure_ascii=False)}" for name, each in value.items()
            ]
        else:
            lines.append(f"{side}: {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines)


def _in_words(visit: Visit) -> str:
    return ", ".join(f"{name} {value}" for name, value in traits(visit).items()) or "; ".join(
        visit.missing.values()
    )
