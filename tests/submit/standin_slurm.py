"""A stand-in for the Slurm around a supervisor: srun runs the task here, the others answer by file."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from stair.rundir import RunDir
from stair.submit.plan import Plan, Step

RUNNING = (
    "JobId=7 JobName=x JobState=RUNNING Reason=None Requeue=1 Restarts=0 PreemptTime=None EndTime=9999999999"
)
LEAVING = "JobId=7 JobName=x JobState=COMPLETING Reason=None Requeue=1 Restarts=0 PreemptTime=None"
JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1", "SLURM_NODEID": "0"}

SRUN = """#!/bin/bash
while [[ $1 == -* ]]; do shift; done
exec "$@"
"""
SCONTROL = """#!/bin/bash
echo "scontrol $*" >> "$(dirname "$0")/calls"
no() { echo "$1" >&2; exit 1; }
if [[ -e $(dirname "$0")/away ]]; then no "Unable to contact slurm controller (connect failure)"; fi
if [[ $* == *"show job"* ]]; then cat "$(dirname "$0")/job"; exit; fi
if [[ $1 == requeue && -e $(dirname "$0")/no-requeue ]]; then no "Requested operation is disabled"; fi
"""
SBATCH = """#!/bin/bash
if [[ $* == --version ]]; then echo "slurm 22.05.8"; exit; fi  # the doctor asks that, beside the step
echo "sbatch $*" >> "$(dirname "$0")/calls"
echo "Submitted batch job 8"
"""
SQUEUE = "#!/bin/bash\n"
SINFO = """#!/bin/bash
cat "$(dirname "$0")/nodes"
"""


class StandIn:
    """A folder of commands, and what they were asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        scripts = {"srun": SRUN, "scontrol": SCONTROL, "sbatch": SBATCH, "squeue": SQUEUE, "sinfo": SINFO}
        (folder / "nodes").write_text("n1 idle\n")
        for name, text in scripts.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        self.say(RUNNING)

    def say(self, line: str) -> None:
        """What scontrol will say of the job."""
        (self.folder / "job.new").write_text(line + "\n")
        (self.folder / "job.new").replace(self.folder / "job")

    def answers(self, well: bool) -> None:
        """Whether slurmctld answers."""
        if well:
            (self.folder / "away").unlink()
        else:
            (self.folder / "away").touch()

    def refuse_requeues(self) -> None:
        (self.folder / "no-requeue").touch()

    @property
    def calls(self) -> list[str]:
        """Every command that was meant to change something, and how."""
        file = self.folder / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if "show job" not in line]

    def environment(self, **more: str) -> dict[str, str]:
        path = f"{self.folder}:{os.environ['PATH']}"
        return {**os.environ, **JOB, "PATH": path, **more}

    def supervise(self, plan: Plan, step: Step, **more: str) -> subprocess.Popen[str]:
        """Starts the supervisor of a step as its batch script would."""
        run = RunDir(Path(plan.run)).create()
        run.plan.write_text(replace(plan, executor="slurm").text())
        words = [sys.executable, "-m", "stair.submit.supervise", str(run.plan), step.name]
        return subprocess.Popen(words, env=self.environment(**more), stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str], timeout_s: float = 240.0) -> tuple[int, str]:
    """Exit code and what it said."""
    said = process.communicate(timeout=timeout_s)[1]
    return process.returncode, said
