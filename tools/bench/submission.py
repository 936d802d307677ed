"""What submitting costs: CPU time of a dry run with preflight, Slurm commands, the status of 5,000 members.

Prints JSON lines; without root or Slurm one line on stderr says what is missing. A development cluster comes
up for it, with drained nodes: nothing starts, and all CPU time is that of the commands. The surprise:
commands are counted in runs of their own, because the counting costs time too.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from stair.cluster.jobs import ask_jobs
from stair.console import say
from stair.errors import FAILED, FINE
from stair.report.facts import read_evidence
from stair.report.status import judge
from tools.devslurm import life
from tools.devslurm.daemons import environment
from tools.devslurm.shape import Shape
from tools.devslurm.system import CannotHere

CHECKOUT = Path(__file__).resolve().parents[2]
IMAGE = CHECKOUT / "build" / "stair-train-cpu.sif"
COMMANDS = ("sbatch", "scancel", "scontrol", "sacct", "sacctmgr", "sinfo", "squeue", "srun")
TIMES = 12


@dataclass(frozen=True)
class Cost:
    """What one call of a command took, and the commands of Slurm that it started if they were counted."""

    cpu_ms: float
    wall_ms: float
    commands: Mapping[str, int]

    @property
    def started(self) -> int:
        return sum(self.commands.values())


@dataclass(frozen=True)
class Place:
    """A folder to work in, and a shell that talks to the cluster."""

    folder: Path
    shell: Mapping[str, str]

    def measure(self, *words: str) -> Cost:
        """The least of several calls, with the commands of one more."""
        commands = self.call(*words, counted=True).commands
        costs = [self.call(*words) for _ in range(TIMES)]
        return Cost(min(cost.cpu_ms for cost in costs), min(cost.wall_ms for cost in costs), commands)

    def call(self, *words: str, counted: bool = False) -> Cost:
        """Calls one of our commands. Ends the benchmark when it is refused."""
        program, shell = Path(sys.executable).with_name(words[0]), dict(self.shell)
        if counted:
            shell["PATH"] = f"{self._counters()}:{shell['PATH']}"
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run([program, *words[1:]], cwd=CHECKOUT, env=shell, capture_output=True, text=True)
        after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        if done.returncode not in (FINE, FAILED):
            raise SystemExit(f"{' '.join(words)}: {done.stderr}")
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        calls = Counter(self.calls.read_text().split()) if counted else {}
        return Cost(round(1000 * cpu_s, 1), round(1000 * (ended - began), 1), calls)

    @property
    def calls(self) -> Path:
        return self.folder / "calls"

    def _counters(self) -> Path:
        """A folder of programs that go by the names of Slurm's, take a note, and call those."""
        folder = self.folder / "counters"
        folder.mkdir(exist_ok=True)
        self.calls.write_text("")
        for name in COMMANDS:
            real = shutil.which(name, path=self.shell["PATH"])
            script = folder / name
            script.write_text(f'#!/bin/sh\necho {name} >> "{self.calls}"\nexec {real} "$@"\n')
            script.chmod(0o755)
        return folder


@contextmanager
def place() -> Iterator[Place]:
    """A cluster on which nothing starts. Raises CannotHere where there can be none."""
    with tempfile.TemporaryDirectory(prefix="stair-bench-") as name:
        folder = Path(name)
        try:
            cluster = life.up(folder / "cluster", Shape(max_array=6001))
            shell = environment(cluster)
            shell.pop("PYTHONDONTWRITEBYTECODE", None)  # a person's Python keeps what it has compiled
            nodes = f"NodeName={','.join(node.name for node in cluster.nodes)}"
            drain = ["scontrol", "update", nodes, "State=DRAIN", "Reason=bench"]
            subprocess.run(drain, env=shell, check=True)
            yield Place(folder, shell)
        finally:
            if (folder / "cluster").exists():
                life.down(folder / "cluster", purge=True)


def dry_run(place: Place) -> dict[str, object]:
    """The pipeline of five steps, planned and judged; beside it what an empty Python takes."""
    cluster = "devcluster"
    if not IMAGE.exists():
        cluster = str(place.folder / "bare.yaml")
        Path(cluster).write_text("executor: slurm\n")
    words = ["pipeline", "--cluster", cluster, "--run", str(place.folder / "pipeline"), "--dry"]
    cost, empty = place.measure("stair-submit", *words), place.measure("python", "-c", "pass")
    return {
        "cpu_ms": cost.cpu_ms,
        "limit_ms": 250,
        "empty_python_cpu_ms": empty.cpu_ms,
        "commands": cost.started,
        "limit_commands": 6,
        "images": IMAGE.exists(),
    }


def send(place: Place, members: int) -> tuple[Path, Cost]:
    """Sends an array that waits; its run folder, and what that cost."""
    recipe, profile = place.folder / "array.yaml", place.folder / "array.profile.yaml"
    resources = {"members": members, "hours": 1}
    recipe.write_text(
        json.dumps({"kind": "command", "image": "none", "argv": ["true"], "resources": resources})
    )
    profile.write_text("executor: slurm\n")
    run = place.folder / f"array{members}"
    words = [str(recipe), "--cluster", str(profile), "--run", str(run)]
    return run, place.call("stair-submit", *words, counted=True)


def status(place: Place, run: Path) -> dict[str, object]:
    """What it costs to see how a run stands: asked and judged in this process, and by the whole command."""
    evidence, inside = read_evidence(run), []
    for _ in range(TIMES):
        began = time.monotonic()
        found = judge(evidence, ask_jobs({line.job for line in evidence.sent}, place.shell), time.time())
        inside.append(1000 * (time.monotonic() - began))
    cost = place.measure("stair-report", str(run), "--json")
    return {
        "members": found.steps[0].members,
        "ask_and_judge_ms": round(min(inside), 1),
        "command_ms": cost.wall_ms,
        "limit_ms": 500,
        "commands": cost.started,
        "limit_commands": 2,
    }


def tell(what: str, **values: object) -> None:
    """Prints a line, with how busy the machine was meanwhile."""
    print(json.dumps({"bench": "submission", "what": what, **values, "load": round(os.getloadavg()[0], 1)}))


def main() -> None:
    try:
        with place() as here:
            tell("dry run with preflight", **dry_run(here))
            _, cost = send(here, 1000)
            tell("sending an array of 1,000", sbatch=cost.commands.get("sbatch", 0), limit_sbatch=1)
            run, _ = send(here, 5000)
            tell("status of 5,000 that wait", **status(here, run))
            job = read_evidence(run).sent[0].job
            subprocess.run(["scancel", f"{job}_[0-2499]"], env=dict(here.shell), check=True)
            time.sleep(3)  # slurmdbd hears of it a little later
            tell("status of 5,000, half of them cancelled", **status(here, run))
    except CannotHere as missing:
        say(f"submission is not measured: {missing.what}; {missing.hint}")


if __name__ == "__main__":
    main()
