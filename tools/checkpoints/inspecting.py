"""tools/inspect-checkpoint: what a checkpoint is, and whether it fits a model.

Takes any checkpoint and the name of a model, shows form, parts, sizes, dtypes, and what is missing, extra or
mis-shaped. Headers are read, tensors are not. Parts that a form never carries (an OpenVLA checkpoint has no
action head) are absent, which is no misfit; a part that is there must be there whole.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stair.console import say, show, show_table
from stair.errors import COULD_NOT_CHECK, FAILED, FINE, StairError, UsageError
from stair.models.formats.checkpoint import Checkpoint, open_checkpoint
from stair.models.formats.fit import Fit, Shape, compare, expected_shapes
from stair.models.formats.stored import Stored, part_of
from stair.models.saved import SavedConfig
from stair.train.stages import STAGES
from tools.checkpoints.expected import expected_model

SHOWN = 5
"""Keys named per part and kind of trouble."""


@dataclass(frozen=True)
class PartReport:
    """One part of the model or of the file."""

    name: str
    stored: Mapping[str, Stored]
    fit: Fit
    fresh: tuple[str, ...]
    """Keys that no checkpoint of this family has, and that would start fresh."""

    @property
    def verdict(self) -> str:
        if not self.stored:
            return "absent"
        if not self.fit.fits:
            return "does not fit"
        return f"fits, {len(self.fresh)} tensors start fresh" if self.fresh else "fits"

    def as_json(self) -> dict[str, Any]:
        """The report for programs."""
        return {
            "part": self.name,
            "verdict": self.verdict,
            "tensors": len(self.stored),
            "parameters": sum(stored.count for stored in self.stored.values()),
            "dtypes": sorted({stored.dtype for stored in self.stored.values()}),
            "missing": list(self.fit.missing) if self.stored else [],
            "extra": list(self.fit.extra),
            "misshaped": [
                {"key": key, "found": list(found), "expected": list(expected)}
                for key, found, expected in self.fit.misshaped
            ],
            "fresh": list(self.fresh),
        }


def report_parts(checkpoint: Checkpoint, expected: Mapping[str, Shape]) -> list[PartReport]:
    """A report of every part that the model or the checkpoint has; pure."""
    names = dict.fromkeys((*map(part_of, expected), *checkpoint.parts))
    reports = []
    for name in names:
        stored = {key: value for key, value in checkpoint.tensors.items() if part_of(key) == name}
        wanted = {key: shape for key, shape in expected.items() if part_of(key) == name}
        fresh = (
            tuple(key for key in wanted if key not in stored and checkpoint.may_lack(key)) if stored else ()
        )
        must = {key: shape for key, shape in wanted.items() if key not in fresh}
        fit = compare(must, {key: value.shape for key, value in stored.items()})
        reports.append(PartReport(name, stored, fit, fresh))
    return reports


def stages_from(reports: list[PartReport]) -> list[str]:
    """The stages that may start from these parts."""
    good = {report.name for report in reports if report.verdict.startswith("fits")}
    return [name for name, stage in STAGES.items() if good.issuperset(stage.needs)]


def as_json(checkpoint: Checkpoint, reports: list[PartReport], against: str) -> dict[str, Any]:
    """The whole report for programs."""
    return {
        "path": str(checkpoint.place.path),
        "title": checkpoint.title,
        "format": checkpoint.place.format,
        "family": checkpoint.family,
        "weights": str(checkpoint.place.weights),
        "parameters": sum(stored.count for stored in checkpoint.tensors.values()),
        "statistics": sorted(checkpoint.statistics()),
        "against": against,
        "fits": all(report.verdict != "does not fit" for report in reports),
        "starts": stages_from(reports),
        "parts": [report.as_json() for report in reports],
        "left_alone": dict(checkpoint.left),
        "remarks": list(checkpoint.remarks),
    }


def show_report(told: dict[str, Any]) -> None:
    """The same for people."""
    rows = [
        [
            part["part"],
            f"{part['tensors']:,}",
            f"{part['parameters']:,}",
            " ".join(part["dtypes"]),
            *(len(part[kind]) for kind in ("missing", "extra", "misshaped")),
            part["verdict"],
        ]
        for part in told["parts"]
    ]
    columns = ["part", "tensors", "parameters", "dtype", "missing", "extra", "mis-shaped", "verdict"]
    show_table(f"{told['title']}\nagainst {told['against']}", columns, rows)
    for part in told["parts"]:
        for line in _examples(part):
            show(line)
    for name, why in list(told["left_alone"].items())[:SHOWN]:
        show(f"left alone: {name} ({why})")
    more = len(told["left_alone"]) - SHOWN
    if more > 0:
        show(f"left alone: {more} more")
    show(f"statistics of: {', '.join(told['statistics']) or 'no data set'}")
    for remark in told["remarks"]:
        show(f"note: {remark}")
    show(f"may start: {', '.join(told['starts']) or 'no stage'}")


def _examples(part: dict[str, Any]) -> list[str]:
    lines = [
        f"mis-shaped: {entry['key']} is {entry['found']}, expected {entry['expected']}"
        for entry in part["misshaped"][:SHOWN]
    ]
    for kind in ("missing", "extra"):
        lines += [f"{kind}: {key}" for key in part[kind][:SHOWN]]
    return lines


def main(words: list[str] | None = None) -> int:
    """Exit code 0: fits, 1: does not, 2: wrong use, 3: cannot be read."""
    parser = argparse.ArgumentParser(
        prog="inspect-checkpoint", description="What a checkpoint is, and whether it fits a model."
    )
    parser.add_argument(
        "path", help="a run directory, a .pt, a folder of safetensors, a STAIR run or model folder"
    )
    parser.add_argument(
        "--against",
        default="",
        help="full, small, a training recipe or a config.yaml (default: what it says of itself, else full)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args(words)
    model = expected_model(options.against) if options.against else None
    try:
        checkpoint = open_checkpoint(Path(options.path))
        against, model = _against(options.against, model, checkpoint)
        reports = report_parts(checkpoint, expected_shapes(model.model, model.inputs))
        told = as_json(checkpoint, reports, against)
    except UsageError:
        raise
    except StairError as error:
        if options.json:
            show(json.dumps({"path": options.path, "error": error.what, "try": error.hint}))
        say(f"error: {error}")
        return COULD_NOT_CHECK
    if options.json:
        show(json.dumps(told, indent=2))
    else:
        show_report(told)
    return FINE if told["fits"] else FAILED


def _against(word: str, model: SavedConfig | None, checkpoint: Checkpoint) -> tuple[str, SavedConfig]:
    if model is not None:
        return word, model
    if checkpoint.saved is not None:
        return "its own configuration", checkpoint.saved
    return "full", SavedConfig()
