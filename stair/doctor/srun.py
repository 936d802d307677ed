"""One srun: the same program on every node at once, its output line by line.

Takes words and the text for standard input, hands on what was printed. The surprise: srun lives in a session
of its own, so that Ctrl-C reaches us first; whatever ends us early, the job that was made is cancelled.
"""

from __future__ import annotations

import queue
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import IO

from stair.errors import COULD_NOT_CHECK, StairError
from stair.frozen import frozen
from stair.interrupts import ends_as_interrupt, held_interrupts
from stair.parent import die_with_parent

HERE = "@stair-at"
START = f"""
echo "{HERE} ${{SLURMD_NODENAME:-$(hostname)}}"
for python in "$1" python3.12 python3.11 python3.10 python3 python /usr/libexec/platform-python; do
    if command -v "$python" >/dev/null 2>&1 && "$python" -c ''; then exec "$python" -; fi
done
echo "there is no Python" >&2
exit 3
"""
"""Finds a Python on a node, ours first if the node sees it; what it runs comes on standard input."""
MEMORY_MB = 1000
"""A probe and Mesa's compiler; DefMemPerCPU may be the whole node."""
GENTLE_S = 10.0
"""How long srun gets to end a job after SIGTERM."""
FAILED_ON = re.compile(r"failed on node (\S+?): (.+)")
KEPT = ("SLURM_CONF", "SLURM_ACCOUNT", "SLURM_CLUSTERS")
"""What an outer job or a habit says to srun by other variables (tasks, memory, GPUs) is not meant for us."""


@frozen
class Party:
    """The nodes that one srun goes to."""

    names: tuple[str, ...] = ()
    """Empty: any `count` of the partition."""
    count: int = 0
    partition: str = ""
    account: str = ""
    gres: str = ""
    job: str = ""
    """An allocation that is there already; empty: srun makes a job."""
    excluded: tuple[str, ...] = ()
    memory_mb: int = MEMORY_MB
    """Of each node, where srun makes the job."""

    @property
    def size(self) -> int:
        return len(self.names) or self.count


@frozen
class Said:
    """What came of an srun."""

    lines: tuple[str, ...]
    """Of all nodes, without srun's labels."""
    words: Mapping[str, str]
    """Node → the last line that was none of ours."""
    nodes: tuple[str, ...]
    """Those on which it began."""
    lost: Mapping[str, str]
    """Nodes that srun could not reach, and why; the others were given up with them."""
    complaint: str
    """srun's own last error; empty where it had none."""
    in_time: bool = True


class NoNodes(StairError):
    """Slurm gives no node to look at."""

    exit_code = COULD_NOT_CHECK


def srun_words(party: Party, name: str, *, wait_s: float, limit_s: float) -> list[str]:
    """The command. `wait_s`: for nodes to be free; `limit_s`: for the slowest after the quickest."""
    from stair.cluster.hostlist import compress

    words = ["srun", f"--job-name={name}", "--label", "--input=all", "--cpus-per-task=1"]
    words += [f"--nodes={party.size}", f"--ntasks={party.size}", "--ntasks-per-node=1"]
    words += ["--no-kill", "--kill-on-bad-exit=0", f"--wait={limit_s:.0f}", "--chdir=/"]
    if party.job:
        words += [f"--jobid={party.job}", "--overlap", "--mem=0"]
    else:
        words += [f"--immediate={max(1, round(wait_s))}", f"--mem={party.memory_mb}M"]
        words += [f"--time={round(limit_s / 60) + 2}"]
        words += [f"--partition={party.partition}"] if party.partition else []
        words += [f"--account={party.account}"] if party.account else []
        words += [f"--gres={party.gres}"] if party.gres else []
    words += [f"--nodelist={compress(party.names)}"] if party.names else []
    words += [f"--exclude={compress(party.excluded)}"] if party.excluded else []
    return [*words, "sh", "-c", START, "sh", sys.executable]


def run_srun(
    party: Party,
    text: str,
    environment: Mapping[str, str],
    *,
    wait_s: float,
    limit_s: float,
    on_line: Callable[[str], None] = lambda line: None,
) -> Said:
    """Runs `text` on the party; returns what was said, also when time was up. Nothing of it lives on.

    Raises StairError where there is no srun, KeyboardInterrupt after Ctrl-C, SIGTERM or SIGHUP.
    """
    name = f"stair-doctor-{secrets.token_hex(4)}"
    words = srun_words(party, name, wait_s=wait_s, limit_s=limit_s)
    environment = {
        key: value for key, value in environment.items() if key in KEPT or not key.startswith("SLURM_")
    }
    with tempfile.TemporaryFile("w+") as program:
        program.write(text)
        program.seek(0)
        with ends_as_interrupt():
            return _run(words, program, environment, name, wait_s + 2 * limit_s, on_line)


def _run(
    words: Sequence[str],
    program: IO[str],
    environment: Mapping[str, str],
    name: str,
    limit_s: float,
    on_line: Callable[[str], None],
) -> Said:
    arriving: queue.Queue[tuple[str, str | None]] = queue.Queue()
    heard: dict[str, list[str]] = {"out": [], "err": []}
    child: subprocess.Popen[str] | None = None
    open_streams = 2
    try:
        with held_interrupts():
            child = _start(words, program, environment)
        for stream, kind in ((child.stdout, "out"), (child.stderr, "err")):
            threading.Thread(target=_read, args=(stream, kind, arriving), daemon=True).start()
        deadline = time.monotonic() + limit_s
        while open_streams and time.monotonic() < deadline:
            try:
                kind, line = arriving.get(timeout=0.2)
            except queue.Empty:
                continue
            if line is None:
                open_streams -= 1
                continue
            heard[kind].append(line)
            on_line(line)
        in_time = not open_streams
    finally:
        if child is not None and open_streams:
            _end(child, name, environment)
        elif child is not None:
            child.wait()
    return _understood(heard["out"], heard["err"], in_time=in_time)


def _start(words: Sequence[str], program: IO[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            words,
            stdin=program,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=partial(die_with_parent, signal.SIGTERM),
        )
    except FileNotFoundError:
        raise NoNodes(
            "no 'srun' on PATH: this machine has no Slurm commands",
            hint="run it on a login node of the cluster (module load slurm?), or without --nodes",
        ) from None


def _end(child: subprocess.Popen[str], name: str, environment: Mapping[str, str]) -> None:
    """Ends srun and the job that it made, whatever state both are in; at once when interrupted again."""
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(GENTLE_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        child.kill()
        child.wait()
        words = ["scancel", f"--name={name}"]
        subprocess.run(words, env=dict(environment), capture_output=True, timeout=60, check=False)


def _read(stream: IO[str], kind: str, arriving: queue.Queue[tuple[str, str | None]]) -> None:
    for line in stream:
        arriving.put((kind, line.rstrip("\n")))
    arriving.put((kind, None))


def _understood(out: Sequence[str], complaints: Sequence[str], *, in_time: bool) -> Said:
    """Labels are taken off; by the line that every task begins with they become names of nodes."""
    names: dict[str, str] = {}
    lines: list[str] = []
    words: dict[str, str] = {}
    labelled = list(_labelled([*out, *complaints]))
    for label, line in labelled:
        if line.startswith(f"{HERE} "):
            names[label] = line.split()[1]
    for label, line in labelled:
        if line.startswith("@stair "):
            lines.append(line)
        elif label in names and line and not line.startswith(HERE):
            words[names[label]] = line
    lost = {match[1]: match[2] for line in complaints if (match := FAILED_ON.search(line))}
    errors = [line.partition("error: ")[2] for line in complaints if line.startswith("srun: error: ")]
    complaint = errors[0] if errors else ""
    return Said(tuple(lines), words, tuple(names.values()), lost, complaint, in_time)


def _labelled(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        match = re.match(r"\s*(\d+): ?(.*)", line)
        if match:
            yield match[1], match[2].strip()
