"""The doctor's look at a node of a job, beside the step and never in its way.

Takes a step and the place where it works, hands on a fact sheet with findings in the run folder; what matters
of them is said in the step's log. `python -m stair.submit.health` does the looking: a process of its own,
which may hang, crash or find no disk, and costs the job no more than the sheet. The surprise: nothing that is
found ends a step. One that failed is looked at again, and what is found then explains it (blame.py): a GPU
may fall off its bus in the tenth hour.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stair.doctor.finding import Finding
from stair.doctor.record import as_tree, cure_of, in_words, judge, read_findings
from stair.frozen import frozen
from stair.parent import die_with_parent
from stair.rundir import RunDir, write_json
from stair.submit.asked import image_file, request_of
from stair.submit.blame import explain, is_explained
from stair.submit.plan import Plan, Step, read_plan
from stair.submit.stepping import Stop
from stair.submit.verdict import Ending

if TYPE_CHECKING:
    from stair.doctor.visit import Visit

PATIENCE_S, PATIENCE_ALONE_S = 3.0, 20.0
"""How long the end of a step may wait for a look. Where it failed on one of several nodes, the others stay no
longer than node.LINGER_S; alone there is nobody to keep waiting."""
PROBE_S = 2.0
"""What a single probe may take."""
LIMIT_S = 30
"""What a look may take that nobody waits for."""


@frozen
class Place:
    """Where a step works, as far as the doctor must know."""

    run: RunDir
    job: str
    restart: int
    node: str
    log: Path
    environment: Mapping[str, str]
    """Of the node, before an image takes it away."""


def run_watched(step: Step, place: Place, stop: Stop, run: Callable[[], Ending]) -> Ending:
    """Runs a step by `run`, with a look at its node beside it; its ending, explained where it failed."""
    with contextlib.suppress(OSError):
        _drawing_sheet(step).unlink(missing_ok=True)
    # Members of an array share one sheet for each node: thousands of short ones would pay for theirs.
    shared = place.run.fact_sheet(place.job.partition("_")[0], place.restart, place.node)
    look = Look(step, place, shared, said=True)
    try:
        ending = run()
    except BaseException:
        look.end(0.0)
        raise
    findings = look.end(0.0 if stop.asked else PATIENCE_S)
    return _noted(ending, findings) if stop.asked else look_again(step, place, ending, findings)


def look_again(step: Step, place: Place, ending: Ending, before: Sequence[Finding] = ()) -> Ending:
    """The ending of a step, explained by another look at its node where it failed; `before` is what was found
    at its start."""
    if is_explained(ending):
        return _noted(ending, before)
    sheet = place.run.fact_sheet(place.job, place.restart, place.node, "end")
    findings = Look(step, place, sheet).end(PATIENCE_S if step.nodes > 1 else PATIENCE_ALONE_S) or before
    return _noted(explain(ending, findings, request_of(step, place.environment)), findings)


def _noted(ending: Ending, findings: Sequence[Finding]) -> Ending:
    return replace(ending, findings=tuple(one.id for one in findings if one.level in ("error", "warning")))


class Look:
    """One look at this machine that goes on in the background; none where there is a sheet already."""

    def __init__(self, step: Step, place: Place, sheet: Path, *, said: bool = False) -> None:
        self.sheet = sheet
        self.process: subprocess.Popen[bytes] | None = None
        if sheet.exists():
            return
        words = [str(place.run.plan), step.name, place.node, str(sheet), str(_drawing_sheet(step))]
        with contextlib.suppress(OSError):
            self.process = subprocess.Popen(
                [sys.executable, "-m", "stair.submit.health", *words, *([str(place.log)] if said else [])],
                env=dict(place.environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def end(self, patience_s: float) -> tuple[Finding, ...]:
        """What was found, a cause before its consequences; one that takes longer is ended."""
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience_s)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        return read_findings(self.sheet)


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    """What the log is told: errors and warnings, each with its cure."""
    for finding in findings:
        if finding.level in ("error", "warning"):
            yield f"── doctor: {finding.level}: {in_words(finding)}"
            if cure_of(finding):
                yield f"──   try: {cure_of(finding)}"


def main(words: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
    """Looks, writes the sheet, tells the log if one is named."""
    die_with_parent(signal.SIGKILL)
    signal.alarm(LIMIT_S)
    plan_file, name, node, sheet, drawing, *log = words
    if log:
        os.nice(10)  # the step is starting beside it
    try:
        visit = _visit(read_plan(Path(plan_file)), name, node, Path(drawing), environment)
        findings = judge(visit)
        tree = as_tree(visit, findings)
    except Exception as error:  # whatever the doctor meets, the job goes on
        findings = ()
        tree = {"stair_doctor": 1, "visits": [], "failed": f"{type(error).__name__}: {error}"}
    told = "".join(f"{line}\n" for line in lines(findings))
    if told and log:
        with open(log[0], "a", encoding="utf-8") as file:
            file.write(told)
    write_json(Path(sheet), tree)


def _visit(plan: Plan, name: str, node: str, drawing: Path, environment: Mapping[str, str]) -> Visit:
    from stair.doctor.probe import collect
    from stair.doctor.visit import Visit

    step = plan.step(name)
    return Visit(
        name=node,
        role="compute" if plan.executor == "slurm" else "here",
        host=collect(plan.run, timeout_s=PROBE_S),
        image=_seen_inside(drawing),
        image_file=image_file(plan, step),
        request=request_of(step, environment),
    )


def _drawing_sheet(step: Step) -> Path:
    return RunDir(Path(step.folder)).drawing_sheet(step.member or 0)


def _seen_inside(drawing: Path) -> dict[str, Any] | None:
    """What an evaluation that could not draw saw from inside its image."""
    try:
        return json.loads(drawing.read_text())["visits"][0]["image"]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


if __name__ == "__main__":
    main(sys.argv[1:])
