"""tools/devcluster: words become one call, and its result lines for people or JSON for programs.

The surprise: `--root` may be left out after `export SLURM_CONF=...`: the cluster that the shell talks to
is then the one that is meant.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from stair.console import run_command, say, show
from stair.errors import StairError
from tools.devslurm import apptainer, install, life, look, network, record
from tools.devslurm.daemons import environment
from tools.devslurm.shape import Cluster, Shape


def entry() -> None:
    """What the script tools/devcluster calls."""
    sys.exit(run_command(lambda: main(sys.argv[1:])))


def main(words: Sequence[str]) -> int:
    """Runs one command; returns the exit code."""
    options = _parser().parse_args(words)
    if options.command in ("up", "down", "cut", "mend", "restart", "on"):
        life.require_root()
    return options.call(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tools/devcluster",
        description="A real Slurm on one Debian machine, one network namespace per node.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, call, about: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, description=about)
        made.add_argument("--root", metavar="DIR", help=f"where it lives (default: {record.DEFAULT_ROOT})")
        made.set_defaults(call=call)
        return made

    made = command(
        "install", _install, "install Slurm, MariaDB, munge and Apptainer, what is missing of them"
    )
    made.add_argument("--prefix", metavar="DIR", help=f"for Apptainer (default: {apptainer.DEFAULT_PREFIX})")
    made = command("up", _up, "bring a cluster up; without options as it was before")
    for option, about in [
        ("nodes", "number of nodes"),
        ("cpus", "CPUs per node"),
        ("memory-mb", "MB per node of the first half; the second half has twice as much"),
        ("gpus", "fake GPUs per node of the first half; the second half has half as many"),
        ("max-array", "MaxArraySize"),
        ("grace-s", "seconds between the warning of a preempted job and its end"),
        ("hold-s", "seconds that a requeued job waits before it may start again"),
    ]:
        default = getattr(Shape(), option.replace("-", "_"))
        made.add_argument(f"--{option}", type=int, metavar="N", help=f"{about} ({default})")
    for option, choices, about in [
        ("accounting", "on off", "slurmdbd and MariaDB, with accounts and QOS (on)"),
        ("preempt-mode", "requeue cancel off", "PreemptMode (requeue)"),
        ("user-signal", "on off", "whether preemption also sends the signal that the job asked for (on)"),
        ("part-limits", "all any no", "EnforcePartLimits (all)"),
    ]:
        made.add_argument(f"--{option}", choices=choices.split(), help=about)
    made = command("down", _down, "end everything of the cluster; state stays")
    made.add_argument("--purge", action="store_true", help="remove the root folder too")
    made = command("status", _status, "daemons, nodes and jobs; exit code 1 unless all is well")
    made.add_argument("--json", action="store_true")
    command("env", _env, 'the lines that let a shell talk to the cluster: eval "$(tools/devcluster env)"')
    made = command("kick", _kick, "let a requeued job start now, which Slurm would hold for two minutes")
    made.add_argument("job", metavar="JOB", help="12, or 12_3 for a member of an array")
    for name, call, about in [
        ("cut", _cut, "pull the cable of a node"),
        ("mend", _mend, "plug the cable of a node in again"),
    ]:
        command(name, call, about).add_argument("node", metavar="NODE")
    made = command("restart", _restart, "end a daemon and start it again")
    made.add_argument("daemon", metavar="DAEMON", help="slurmctld, slurmdbd, ... or the name of a node")
    made = command("on", _on, "run a command as if on that node: on n1 hostname")
    made.add_argument("node", metavar="NODE")
    made.add_argument("argv", nargs=argparse.REMAINDER, metavar="CMD")
    return parser


def wished(shape: Shape, options: argparse.Namespace) -> Shape:
    """The shape with what was said on the command line in its place."""
    said = {f.name: getattr(options, f.name) for f in fields(Shape) if getattr(options, f.name) is not None}
    switches = {name: said[name] == "on" for name in ("accounting", "user_signal") if name in said}
    return replace(shape, **{**said, **switches})


def _meant(options: argparse.Namespace) -> Cluster:
    return record.read_cluster(record.choose_root(options.root))


def _install(options: argparse.Namespace) -> int:
    prefix = Path(options.prefix).expanduser().resolve() if options.prefix else None
    for line in install.install(prefix, say):
        show(line)
    return 0


def _up(options: argparse.Namespace) -> int:
    root = record.choose_root(options.root)
    try:
        shape = record.read_cluster(root).shape
    except StairError:
        shape = Shape()
    shape = wished(shape, options)
    cluster = life.up(root, shape, lambda stage, seconds: say(f"{stage:<22}{seconds:6.2f} s"))
    say(f"{shape.nodes} nodes are ready in {root}")
    for line in look.exports(cluster):
        show(line)
    return 0


def _down(options: argparse.Namespace) -> int:
    root = record.choose_root(options.root)
    ended = life.down(root, lambda stage, seconds: say(f"{stage:<22}{seconds:6.2f} s"), purge=options.purge)
    say(f"down: {root}" + (f"; {ended} processes of jobs were ended" if ended else ""))
    return 0


def _status(options: argparse.Namespace) -> int:
    status = look.status(_meant(options))
    show(look.as_json(status) if options.json else look.as_text(status))
    return 0 if status.well else 1


def _env(options: argparse.Namespace) -> int:
    for line in look.exports(_meant(options)):
        show(line)
    return 0


def _kick(options: argparse.Namespace) -> int:
    look.kick(_meant(options), options.job)
    say(f"job {options.job} may start")
    return 0


def _cut(options: argparse.Namespace) -> int:
    return _cable(options, plugged=False)


def _mend(options: argparse.Namespace) -> int:
    return _cable(options, plugged=True)


def _cable(options: argparse.Namespace, plugged: bool) -> int:
    cluster = _meant(options)
    network.set_cable(cluster, life.known_place(cluster, options.node), plugged)
    say(f"{options.node} is plugged in again" if plugged else f"the cable of {options.node} is pulled")
    return 0


def _restart(options: argparse.Namespace) -> int:
    life.restart(_meant(options), options.daemon)
    say(f"{options.daemon} runs again")
    return 0


def _on(options: argparse.Namespace) -> int:
    cluster = _meant(options)
    place = life.known_place(cluster, options.node)
    return subprocess.call(network.enter(cluster, place, options.argv or ["sh"]), env=environment(cluster))
