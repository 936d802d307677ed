"""Why nothing can be drawn here: the doctor's word at the end of an evaluation that cannot begin.

Takes the error that stopped it, hands on one that names the first cause and its cure, and leaves the fact
sheet in the run folder for those who ask later, or decide whether another node would do. The surprise: this
looks where the drawing failed, inside the image and with the driver chosen as it was then; what is wrong with
the host around it is found from there (stair/submit/health.py).
"""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from stair import console
from stair.errors import StairError
from stair.evaluate.config import EvalConfig
from stair.rundir import RunDir, write_json
from stair.sim.render import CannotDraw, choose_driver

PROBE_S = 5.0
"""What a single probe may take."""


def explained(error: StairError, config: EvalConfig) -> StairError:
    """A CannotDraw with the first cause in place of the symptom, which is said before; the symptom itself
    where no cause is found."""
    console.say(f"nothing could be drawn: {error.what}")
    try:
        return _cause(config) or error
    except Exception as trouble:  # the doctor must not hide what it was called for
        console.say(f"stair-doctor could not look: {type(trouble).__name__}: {trouble}")
        return error


def _cause(config: EvalConfig) -> CannotDraw | None:
    from stair.doctor.probe import collect
    from stair.doctor.record import as_tree, cure_of, in_words, judge
    from stair.doctor.visit import Visit

    with contextlib.suppress(StairError):
        choose_driver(config.render)
    sheet = collect(config.run, timeout_s=PROBE_S)
    inside = sheet.get("inside") == "apptainer"
    visit = Visit(
        socket.gethostname(),
        host=None if inside else sheet,
        image=sheet if inside else None,
        request={"kind": "eval" if inside else "", "render": config.render or "nvidia"},
    )
    findings = judge(visit)
    with contextlib.suppress(StairError):
        write_json(RunDir(Path(config.run)).drawing_sheet(config.shard), as_tree(visit, findings))
    if findings and findings[0].level == "error":
        return CannotDraw(in_words(findings[0]), hint=cure_of(findings[0]))
    return None
