"""An array far longer than MaxArraySize on a real Slurm: every member once, and again only who was killed.

    python tools/many.py [--members 2500] [--kill 50] [--max-array 1001]

Brings a development cluster up, sends one `command` step, kills members in four ways, repeats the command,
and prints what was seen as a table (Markdown); exit code 1 when anything is wrong. The surprise: whoever is
to be killed waits for it in its first run, since nobody else lives long enough.
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
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stair.cluster.jobs import latest_jobs
from stair.cluster.ledger import read_sent
from stair.console import run_command, say, show
from stair.errors import FAILED, FINE, StairError
from stair.rundir import RunDir
from tools.devslurm import life
from tools.devslurm.daemons import environment
from tools.devslurm.shape import Cluster, Shape
from tools.devslurm.system import processes, run, wait_until

MEMBER = """\
#!/bin/sh
# Notes that it began and that it ended; waits while there is a file with its number in hold/.
echo began >> "$1/marks/$2"
while [ -e "$1/hold/$2" ]; do sleep 0.5; done
echo ended >> "$1/marks/$2"
"""
WAYS = ("cancelled before it ran", "cancelled while it ran", "program killed", "supervisor killed")
PATIENCE_S = 7200.0


@dataclass(frozen=True)
class Row:
    """One thing that must be so."""

    what: str
    expected: object
    seen: object

    @property
    def holds(self) -> bool:
        return self.expected == self.seen


@dataclass(frozen=True)
class Crowd:
    """One step of many members, and where it happens."""

    cluster: Cluster
    folder: Path
    members: int
    victims: Mapping[int, str]
    """Members that are killed, and in which way."""

    def prepare(self) -> None:
        """Writes program, recipe and profile."""
        for name in ("marks", "hold"):
            (self.folder / name).mkdir(parents=True)
        program = self.folder / "member.sh"
        program.write_text(MEMBER)
        program.chmod(0o755)
        for member in self.victims:
            (self.folder / "hold" / str(member)).touch()
        resources = {"members": self.members, "hours": 24}
        argv = [str(program), str(self.folder), "{member}"]
        step = {"kind": "command", "image": "none", "argv": argv, "resources": resources}
        # One killed process would be forgiven; here it is a person who says what is tried again.
        slurm = {"partition": "train", "mem_gb": 0.05, "max_crashes": 0, "parallel_members": self.parallel}
        (self.folder / "many.yaml").write_text(json.dumps(step))
        (self.folder / "profile.yaml").write_text(json.dumps({"executor": "slurm", "slurm": slurm}))

    @property
    def parallel(self) -> int:
        """How many run at once: what the machine can bear, whatever its nodes claim to have."""
        return min(4 * (os.cpu_count() or 1), sum(node.cpus for node in self.cluster.nodes))

    @property
    def run(self) -> RunDir:
        return RunDir(self.folder / "runs" / "many")

    def call(self, command: str, *words: str) -> str:
        """One of our commands, as a person calls it; what it says. Raises StairError when it is refused."""
        program = Path(sys.executable).with_name(command)
        done = subprocess.run(
            [program, *words],
            cwd=self.folder,
            env=environment(self.cluster),
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode not in (FINE, FAILED):
            raise StairError(f"{command} failed ({done.returncode}): {done.stderr.strip()}")
        return done.stdout + done.stderr

    def submit(self) -> str:
        return self.call("stair-submit", "many.yaml", "--cluster", "./profile.yaml")

    def slurm(self, *words: str) -> str:
        """One of Slurm's commands; what it says. Raises StairError when it fails: silence is no answer."""
        return run(words, env=environment(self.cluster))

    def counts(self, member: int) -> Counter[str]:
        """How often a member began and ended."""
        try:
            return Counter((self.folder / "marks" / str(member)).read_text().split())
        except FileNotFoundError:
            return Counter()

    def jobs(self) -> dict[int | None, str]:
        """The present job of every member."""
        return latest_jobs(read_sent(self.run), "command")

    def report(self) -> dict[str, int]:
        """How many members are in which state, by stair-report."""
        tree = json.loads(self.call("stair-report", "runs/many", "--json"))
        return tree["steps"][0]["members"]

    def await_end(self, tell: Callable[[str], None]) -> None:
        """Waits until no job is left, and says now and then how far it is."""
        told = time.monotonic()

        def over() -> bool:
            nonlocal told
            if time.monotonic() - told > 30:
                told = time.monotonic()
                tell(f"{len(list((self.run.path / 'members').glob('*.json')))} of {self.members} are done")
            try:
                return not self.slurm("squeue", "--noheader", "--format=%i").strip()
            except StairError:
                return False

        if not wait_until(over, PATIENCE_S, 1.0):
            raise StairError(f"the array does not end: {self.slurm('squeue')}")

    def strike(self) -> None:
        """Kills every victim in its way, as soon as it is where it can be killed."""
        jobs = self.jobs()
        early = [member for member, way in self.victims.items() if way == WAYS[0]]
        self.slurm("scancel", *(jobs[member] for member in early))
        left = [member for member in self.victims if member not in early]
        deadline = time.monotonic() + PATIENCE_S
        while left:
            for member in [member for member in left if self.counts(member)["began"]]:
                self._kill(member, jobs[member])
                left.remove(member)
            if time.monotonic() > deadline:
                raise StairError(f"members {left} have not begun: {self.slurm('squeue')}")
            time.sleep(0.2)

    def _kill(self, member: int, job: str) -> None:
        if self.victims[member] == WAYS[1]:
            self.slurm("scancel", job)
            return
        array, _, index = job.partition("_")
        seat = {f"SLURM_ARRAY_JOB_ID={array}", f"SLURM_ARRAY_TASK_ID={index}"}
        mark = "stair.submit.supervise" if self.victims[member] == WAYS[3] else f"{self.folder}/member.sh"
        found = [p.pid for p in processes() if mark in p.argv and seat <= _environment(p.pid)]
        for pid in found:
            with suppress(ProcessLookupError):  # one that was just being forked
                os.kill(pid, signal.SIGKILL)
        if not found:
            raise StairError(f"no process of member {member} (job {job})")


def _environment(pid: int) -> set[str]:
    try:
        return set(Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0"))
    except OSError:
        return set()


def rehearse(
    cluster: Cluster, folder: Path, members: int, kill: int, tell: Callable[[str], None] = say
) -> list[Row]:
    """Does all of it once on a running cluster; `folder` must not exist yet."""
    chosen = random.Random(0).sample(range(members), kill)
    victims = {member: WAYS[place % len(WAYS)] for place, member in enumerate(chosen)}
    crowd = Crowd(cluster, folder, members, victims)
    crowd.prepare()
    started = time.monotonic()
    tell(next(line for line in crowd.submit().splitlines() if line.startswith("sent ")))
    crowd.strike()
    tell(f"{kill} members are killed")
    crowd.await_end(tell)
    first, states = read_sent(crowd.run), crowd.report()
    shutil.rmtree(folder / "hold")
    seconds = time.monotonic() - started
    tell(f"over after {seconds:.0f} s; once more")
    crowd.submit()
    again = read_sent(crowd.run)[len(first) :]
    crowd.await_end(tell)
    late = crowd.report()
    sent = len(first) + len(again)
    nothing = "nothing to send" in crowd.submit() and len(read_sent(crowd.run)) == sent
    counts = {member: crowd.counts(member) for member in range(members)}
    once = Counter(began=1, ended=1)
    whole, rest = divmod(members, cluster.shape.max_array)
    survivors = [member for member in range(members) if member not in victims]
    rows = [
        Row("sbatch calls for the whole array", whole + bool(rest), len(first)),
        Row("members sent", list(range(members)), [m for line in first for m in line.members]),
        Row("done after the first time", members - kill, states.get("done", 0)),
        Row(
            "not killed, and began and ended once", len(survivors), sum(counts[m] == once for m in survivors)
        ),
        Row("sent again", sorted(victims), sorted(member for line in again for member in line.members)),
        Row("done after the second time", members, late.get("done", 0)),
        Row("killed, and ended once in all", kill, sum(counts[m]["ended"] == 1 for m in victims)),
        Row("a third time sends nothing", True, nothing),
    ]
    for way in WAYS:
        mine = [member for member in victims if victims[member] == way]
        starts = [1] if way == WAYS[0] else [2]
        seen = sorted({counts[member]["began"] for member in mine})
        # Who is cancelled at once may have begun already: one of them, or all.
        begun = way == WAYS[0] and seen in ([1, 2], [2])
        rows.append(Row(f"{way}: {len(mine)}; began so often", starts, starts if begun else seen))
    tell(f"{members} members took {seconds:.0f} s, those killed {time.monotonic() - started - seconds:.0f} s")
    return rows


def as_markdown(rows: Sequence[Row]) -> str:
    """The table; long lists by their length."""

    def cell(value: object) -> str:
        return f"{len(value)} members" if isinstance(value, list) and len(value) > 3 else str(value)

    lines = ["| what | expected | seen | |", "|---|---|---|---|"]
    lines += [
        f"| {row.what} | {cell(row.expected)} | {cell(row.seen)} | {'yes' if row.holds else '**NO**'} |"
        for row in rows
    ]
    return "\n".join(lines)


def main(words: Sequence[str]) -> int:
    """0 when all is as it must be, else 1."""
    parser = argparse.ArgumentParser(prog="tools/many.py", description="A very long array on a real Slurm.")
    parser.add_argument("--members", type=int, default=2500)
    parser.add_argument("--kill", type=int, default=50)
    parser.add_argument("--max-array", type=int, default=1001)
    parser.add_argument("--root", default="~/.cache/stair/many", metavar="DIR")
    asked = parser.parse_args(words)
    root = Path(asked.root).expanduser().resolve()
    try:
        shutil.rmtree(root / "work", ignore_errors=True)
        cluster = life.up(root / "cluster", Shape(max_array=asked.max_array))
        rows = rehearse(cluster, root / "work", asked.members, asked.kill)
    finally:
        life.down(root / "cluster", purge=True)
    shutil.rmtree(root)
    show(as_markdown(rows))
    return FINE if all(row.holds for row in rows) else FAILED


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
