"""One look at a run: its folder, then Slurm where it runs there.

Takes a run folder, hands on a RunStatus with the logs of what failed. A Slurm that does not answer is no
error here: the status then says what the folder knows, and how old that is. The surprise: who has ended is
asked before it is read what it left. The other way round a run that ends in between would seem to have ended
without a word.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from stair.cluster.jobs import SlurmIsSilent, ask_jobs
from stair.cluster.jobstate import JobState
from stair.errors import FAILED
from stair.report.facts import Evidence, read_evidence, read_facts
from stair.report.local import judge_local, read_worker
from stair.report.status import RunStatus, judge
from stair.report.tail import with_tails
from stair.rundir import RunDir

LOOKS = 3
"""How often Slurm is asked at most in one look; more than once only when jobs were sent meanwhile."""


def look(path: Path) -> RunStatus:
    """The status of a run, as a rule by at most two Slurm commands. Raises NoSuchRun."""
    if read_facts(RunDir(path)).executor != "slurm":
        worker = read_worker(RunDir(path))
        return with_tails(judge_local(read_evidence(path), worker, time.time()))
    return with_tails(_on_slurm(path))


def _on_slurm(path: Path) -> RunStatus:
    evidence = read_evidence(path)
    for _ in range(LOOKS):
        jobs, silence = ask(evidence)
        status = judge(evidence, jobs, time.time(), silence=silence)
        if status.exit_code != FAILED:
            break
        # A job that ended while Slurm was asked has left its last word since the folder was read.
        asked, evidence = evidence.sent, read_evidence(path)
        status = judge(evidence, jobs, time.time(), silence=silence)
        if evidence.sent == asked:
            break
    return status


def ask(evidence: Evidence) -> tuple[Mapping[str, JobState] | None, str]:
    """The jobs of a run as Slurm has them, or None and why it does not answer."""
    finished = {step.name for step in evidence.run.steps if evidence.is_finished(step)}
    ids = {line.job for line in evidence.sent if line.step not in finished}
    since = min((line.time for line in evidence.sent), default=0.0)
    try:
        return ask_jobs(ids, slurm_environment(evidence.run.slurm_conf), since=since), ""
    except SlurmIsSilent as error:
        return None, error.what


def slurm_environment(slurm_conf: str) -> dict[str, str]:
    """The environment of Slurm's commands for a cluster that may have a configuration of its own; `~` and
    `$NAME` in it are expanded here, since the plan has it as the profile does."""
    if not slurm_conf:
        return dict(os.environ)
    return {**os.environ, "SLURM_CONF": os.path.expanduser(os.path.expandvars(slurm_conf))}
