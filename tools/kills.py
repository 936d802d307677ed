"""An evaluation as an array whose processes are killed at random moments, against an undisturbed one.

    python tools/kills.py [--episodes 2000] [--kills 100] [--members 40] [--seed 0]

Brings a development cluster up, plays the tabletop with a clairvoyant policy (tools/clairvoyant.py) once in
peace, then as an array on Slurm, each member with a server and simulators of its own, and kills simulators,
servers, evaluations, tasks of nodes and supervisors; compares episode by episode and prints a table
(Markdown); exit code 1 when anything is wrong. The surprise: moments are drawn on the scale of episodes on
record, so that all kills fall into the run however slow the machine is.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stair.console import run_command, say, show
from stair.errors import FAILED, FINE, StairError
from stair.evaluate.episodes import EpisodeRecord, read_records, summarise
from stair.rundir import RunDir, read_lines
from tools.devslurm import life
from tools.devslurm.daemons import environment
from tools.devslurm.shape import Cluster, Shape
from tools.devslurm.system import Process, processes
from tools.many import Row, as_markdown

ROOT = Path(__file__).resolve().parents[1]
SERVER = ROOT / "tools" / "clairvoyant.py"
SETTINGS = {"control": "chunk", "execute": 16, "camera": 16, "videos": 0, "pitfalls": "say"}
"""Cheap episodes: four queries each, small pictures. Who sees the future does not look at any: a pitfall."""
PYTHON = """\
#!/bin/sh
# The Python of the steps; serves a policy without a model where a trained one would be served.
if [ "$1 $2" = "-m stair.serve" ]; then shift 2; exec {python} {server} "$@"; fi
exec {python} "$@"
"""
WAYS = ("simulator", "server", "evaluation", "node", "supervisor")
SHARES = (40, 30, 10, 10, 10)
"""How many of a hundred kills go to each."""
SAME = ("task", "variant", "success", "success_ever", "first_success", "steps", "queries", "seed")
COMPARED = (*SAME, "instruction", "policy", "error")


def what_is_it(process: Process, parents: Mapping[int, Process], run: str) -> str:
    """Which of WAYS a process of the run is; empty for all others."""
    words = process.argv
    mine = any(run in word for word in words)
    if mine and str(SERVER) in words:
        return "server"
    if mine and "stair.evaluate" in words:
        return "evaluation"
    if mine and "stair.submit.node" in words and words[0] == sys.executable:
        return "node"
    if mine and "stair.submit.supervise" in words:
        return "supervisor"
    parent = parents.get(_parent(process.pid))
    spawned = any("spawn_main" in word for word in words)
    return "simulator" if spawned and parent and what_is_it(parent, {}, run) == "evaluation" else ""


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return 0


@dataclass
class Reaper:
    """Kills processes of a run, at moments drawn with `seed`."""

    run: RunDir
    episodes: int
    kills: int
    seed: int = 0
    until: float = 0.97
    """Share of the episodes after which no moment lies."""
    struck: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        shares = [way for way, share in zip(WAYS, SHARES, strict=True) for _ in range(share)]
        ways = [shares[(2 * k + 1) * len(shares) // (2 * self.kills)] for k in range(self.kills)]
        self.dice.shuffle(ways)
        last = int(self.until * self.episodes)
        moments = sorted(self.dice.randrange(last) for _ in range(self.kills))
        self.planned = list(zip(moments, ways, strict=True))

    def on_record(self) -> int:
        """How many lines the records have."""
        return sum(file.read_bytes().count(b"\n") for file in self.run.episodes.glob("*.jsonl"))

    def strike(self) -> None:
        """Kills whoever is due; to be called often."""
        if not self.planned or self.on_record() < self.planned[0][0]:
            return
        everyone = {process.pid: process for process in processes()}
        wanted = self.planned[0][1]
        found = [
            pid
            for pid, process in everyone.items()
            if what_is_it(process, everyone, str(self.run.path)) == wanted
        ]
        if not found:
            return  # it is between two starts; its turn comes
        time.sleep(self.dice.random() * 0.3)
        try:
            os.kill(self.dice.choice(sorted(found)), signal.SIGKILL)
        except ProcessLookupError:
            return
        self.struck[wanted] += 1
        self.planned.pop(0)


def play_in_peace(folder: Path, episodes: int) -> list[EpisodeRecord]:
    """The undisturbed run: one server, one evaluation with two simulators; its records."""
    run, address = folder / "peace", folder / "peace.address"
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(
        [sys.executable, str(SERVER), "--port", "0", "--address_file", str(address)],
        env=variables,
        stderr=subprocess.DEVNULL,
    )
    try:
        words = {"policy": address, "run": run, "episodes": episodes, "workers": 2, **SETTINGS}
        argv = [word for name, value in words.items() for word in (f"--{name}", str(value))]
        done = subprocess.run(
            [sys.executable, "-m", "stair.evaluate", *argv], env=variables, capture_output=True, text=True
        )
    finally:
        server.terminate()
        server.wait()
    if done.returncode:
        raise StairError(f"the undisturbed run failed: {done.stderr[-500:]}")
    return read_records(RunDir(run).episodes)


@dataclass(frozen=True)
class Array:
    """The evaluation as an array on a cluster."""

    cluster: Cluster
    folder: Path
    episodes: int
    members: int

    @property
    def run(self) -> RunDir:
        return RunDir(self.folder / "runs" / "array")

    def prepare(self) -> None:
        """Writes recipe, profile and the Python of the steps."""
        (self.folder / "model").mkdir(parents=True, exist_ok=True)
        python = self.folder / "python"
        python.write_text(PYTHON.format(python=sys.executable, server=SERVER))
        python.chmod(0o755)
        evaluation = {"episodes": self.episodes, "workers": 2, **SETTINGS}
        job = {
            "kind": "eval",
            "model": str(self.folder / "model"),
            "eval": evaluation,
            "resources": {"members": self.members, "hours": 4},
        }
        budgets = {"max_crashes": 99, "max_node_failures": 99, "max_preemptions": 99}
        slurm = {"partition": "train", "mem_gb": 0.2, "parallel_members": 4, **budgets}
        profile = {"executor": "slurm", "python": str(python), "slurm": slurm, "gpus_per_node": 0}
        (self.folder / "array.yaml").write_text(json.dumps(job))
        (self.folder / "profile.yaml").write_text(json.dumps(profile))

    def submit(self) -> str:
        """Sends what is missing, as a person does; what it said."""
        words = ["array.yaml", "--cluster", "./profile.yaml", "--run", str(self.run.path)]
        done = subprocess.run(
            [Path(sys.executable).with_name("stair-submit"), *words],
            cwd=self.folder,
            env={**environment(self.cluster), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode:
            raise StairError(f"stair-submit failed: {done.stderr.strip()}")
        return done.stdout + done.stderr

    def jobs(self) -> list[str]:
        """State and id of every job that is not over."""
        said = subprocess.run(
            ["squeue", "--noheader", "--array", "--format=%i|%T|%r"],
            env=environment(self.cluster),
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout
        return said.split()

    def hurry(self, jobs: Sequence[str]) -> None:
        """Lets requeued members start at once, which Slurm would hold."""
        for line in jobs:
            job, _, rest = line.partition("|")
            if rest == "PENDING|BeginTime":
                words = ["scontrol", "update", f"JobId={job}", "StartTime=now+2"]
                subprocess.run(words, env=environment(self.cluster), capture_output=True, timeout=60)


def rehearse(array: Array, reaper: Reaper, tell: Callable[[str], None] = say) -> int:
    """Sends the array again and again until nothing is left to send, while the reaper is at work; returns
    how often it was sent."""
    told = asked = time.monotonic()
    sendings = 0
    while "nothing to send" not in array.submit():
        sendings += 1
        jobs = array.jobs()
        tell(f"sent; {len(jobs)} members to go")
        while jobs:
            reaper.strike()
            if time.monotonic() - asked > 2:
                jobs, asked = array.jobs(), time.monotonic()
                array.hurry(jobs)
            if time.monotonic() - told > 30:
                told = time.monotonic()
                tell(f"{reaper.on_record()} on record, {dict(reaper.struck)} killed, {len(jobs)} jobs left")
            time.sleep(0.05)
    return sendings


def compare(peace: Sequence[EpisodeRecord], run: RunDir, episodes: int) -> list[Row]:
    """What must be equal, as rows."""
    disturbed = read_records(run.episodes)
    lines = [line for file in run.episodes.glob("*.jsonl") for line in read_lines(file)]
    good = Counter(line["key"] for line in lines if not line["error"])

    def essence(records: Sequence[EpisodeRecord]) -> dict[str, tuple[object, ...]]:
        return {record.key: tuple(getattr(record, name) for name in COMPARED) for record in records}

    mine, theirs = essence(disturbed), essence(peace)
    differ = sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))

    def total(records: Sequence[EpisodeRecord]) -> str:
        return "; ".join(f"{one.in_words()}, {one.mean_steps:g} steps" for one in summarise(records))

    return [
        Row("episodes on record", episodes, len(disturbed)),
        Row("of them without a result", 0, sum(bool(record.error) for record in disturbed)),
        Row("lost: in the undisturbed run only", 0, len(theirs.keys() - mine.keys())),
        Row("lines that hold an episode a second time", 0, sum(good.values()) - len(good)),
        Row("episodes that differ in anything but times", [], differ),
        Row("the aggregate", total(peace), total(disturbed)),
    ]


def main(words: Sequence[str]) -> int:
    """0 when all is as it must be, else 1."""
    parser = argparse.ArgumentParser(prog="tools/kills.py", description="Kills in a large evaluation.")
    parser.add_argument("--episodes", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--members", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--root", default="~/.cache/stair/kills", metavar="DIR")
    parser.add_argument("--keep", action="store_true", help="leave the runs where they are")
    asked = parser.parse_args(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # in order: the cluster is taken down
    root = Path(asked.root).expanduser().resolve()
    shutil.rmtree(root / "work", ignore_errors=True)
    (root / "work").mkdir(parents=True)
    started = time.monotonic()
    peace = play_in_peace(root / "work", asked.episodes)
    say(f"undisturbed: {len(peace)} episodes in {time.monotonic() - started:.0f} s")
    try:
        cluster = life.up(root / "cluster", Shape(nodes=2, accounting=False, hold_s=5))
        array = Array(cluster, root / "work", asked.episodes, asked.members)
        array.prepare()
        reaper = Reaper(array.run, asked.episodes, asked.kills, asked.seed)
        started = time.monotonic()
        sendings = rehearse(array, reaper)
        say(f"disturbed: {time.monotonic() - started:.0f} s, sent {sendings} times")
    finally:
        life.down(root / "cluster", purge=True)
    records = read_records(array.run.episodes)
    again = [record for record in records if record.attempts > 1]
    rows = [
        *compare(peace, array.run, asked.episodes),
        Row("killed in all", asked.kills, sum(reaper.struck.values())),
    ]
    show(as_markdown(rows))
    show(f"killed: {dict(reaper.struck)}; {len(again)} episodes were begun more than once by one evaluation")
    if not asked.keep:
        shutil.rmtree(root)
    return FINE if all(row.holds for row in rows) else FAILED


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
