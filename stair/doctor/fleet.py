"""Nodes of a cluster are visited with one srun.

Takes which nodes are meant and what to look at, hands on a Visit of every one of them. The surprise: a node
that is down, busy or silent has a Visit too, whose `missing` says why nothing is known of it: no data is
never all fine.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from stair.cluster.hostlist import compress, expand
from stair.cluster.slurm_facts import Node, SlurmFacts
from stair.console import Progress, say
from stair.doctor.luggage import luggage, read_visits
from stair.doctor.srun import HERE, NoNodes, Party, Said, run_srun
from stair.doctor.traveller import MARK
from stair.doctor.visit import Order, Visit
from stair.errors import UsageError, unknown
from stair.frozen import frozen

WAIT_S = 60.0
"""For nodes to have a free core, before those that are busy are left out."""
FULL = frozenset({"ALLOCATED", "COMPLETING"})
ROUNDS = 5
"""How many nodes may fail one after the other before the rest is given up: each costs an srun."""


@frozen
class Asked:
    """Which nodes, in the words of the command line; one of the first three."""

    nodes: int = 0
    nodelist: str = ""
    all_nodes: bool = False
    partition: str = ""
    account: str = ""
    gpus_per_node: int = 0
    wait_s: float = WAIT_S

    @property
    def any(self) -> bool:
        return bool(self.nodes or self.nodelist or self.all_nodes)

    @property
    def gres(self) -> str:
        return f"gpu:{self.gpus_per_node}" if self.gpus_per_node else ""


@frozen
class Choice:
    """Who is asked, and who cannot be."""

    parties: tuple[Party, ...]
    absent: Mapping[str, str]
    """Node → why it is not asked."""
    idle: frozenset[str] = frozenset()
    """Those that have nothing to do: asked alone when others turn out to be busy."""


def visit_nodes(asked: Asked, order: Order, environment: Mapping[str, str]) -> tuple[Visit, ...]:
    """A visit of every node that is meant, sorted by name.

    Raises UsageError for nodes or partitions that do not exist, NoNodes when Slurm gives none.
    """
    job = environment.get("SLURM_JOB_ID", "")
    if job:
        choice = choose_inside(asked, job, expand(environment.get("SLURM_JOB_NODELIST", "")))
    else:
        from stair.cluster.slurm import read_cluster

        choice = choose(asked, read_cluster(environment))
    began = time.time()
    text, absent, visits = luggage(order), dict(choice.absent), dict[str, Visit]()
    for party in choice.parties:
        found, lost = _visit_party(party, choice.idle, text, asked, order, environment)
        visits |= {name: replace(visit, host=at_one_time(visit.host, began)) for name, visit in found.items()}
        absent |= lost
    silent = {
        name: Visit(name, "compute", missing={"node": why})
        for name, why in absent.items()
        if name not in visits
    }
    if not visits and not silent:
        raise NoNodes("no node answered", hint="sinfo; squeue --me")
    return tuple(each for _, each in sorted((visits | silent).items(), key=lambda pair: _by_number(pair[0])))


def choose(asked: Asked, facts: SlurmFacts) -> Choice:
    """Which nodes get a job of ours, by what Slurm says of them. Pure. Raises UsageError."""
    partitions = [name for name in asked.partition.split(",") if name] or [facts.default_partition]
    for name in partitions:
        if name not in facts.partitions:
            raise unknown("partition", name, facts.partitions)
    template = Party(partition=",".join(partitions), account=asked.account, gres=asked.gres)
    if asked.nodes:
        return Choice((replace(template, count=asked.nodes),), {})
    names = set(expand(asked.nodelist)) if asked.nodelist else None
    for name in names or ():
        if name not in facts.nodes:
            raise UsageError(f"Slurm has no node '{name}'", hint=f"known: {compress(facts.nodes)}")
    parties: list[Party] = []
    absent: dict[str, str] = {}
    seen: set[str] = set()
    for partition in partitions:
        here = [
            n for n in facts.partitions[partition].nodes if n not in seen and (names is None or n in names)
        ]
        seen |= set(here)
        why = {name: _why_not(facts.nodes.get(name), asked) for name in here}
        absent |= {name: reason for name, reason in why.items() if reason}
        free = tuple(name for name, reason in why.items() if not reason)
        if free:
            parties.append(replace(template, names=free, partition=partition))
    if names and (elsewhere := names - seen):
        raise UsageError(
            f"{compress(elsewhere)} not in partition {', '.join(partitions)}", hint="--partition NAME"
        )
    idle = frozenset(name for name, node in facts.nodes.items() if node.state == "IDLE")
    return Choice(tuple(parties), absent, idle)


def choose_inside(asked: Asked, job: str, nodes: Iterable[str]) -> Choice:
    """The same among the nodes of a job that we are in. Pure. Raises UsageError."""
    nodes = tuple(nodes)
    names = expand(asked.nodelist) or nodes
    for name in names:
        if name not in nodes:
            raise UsageError(f"'{name}' is no node of job {job}", hint=f"it has {compress(nodes)}")
    if asked.nodes > len(names):
        raise UsageError(f"job {job} has {len(names)} nodes, {asked.nodes} are asked", hint="--all-nodes")
    return Choice((Party(names[: asked.nodes] if asked.nodes else names, job=job),), {})


def _why_not(node: Node | None, asked: Asked) -> str:
    """Why a node is not asked; empty when it is."""
    if node is None:
        return "Slurm tells nothing of it"
    state = "+".join([node.state, *sorted(node.flags)])
    if not node.up:
        return f"Slurm says {state}" + (f": {node.reason}" if node.reason else "")
    if asked.gpus_per_node > node.count("gpu"):
        return f"it has {node.count('gpu')} GPUs, {asked.gpus_per_node} are asked"
    if node.state in FULL and asked.all_nodes:
        return f"busy ({state}): other jobs have all of its cores"
    return ""


def _visit_party(
    party: Party,
    idle: frozenset[str],
    text: str,
    asked: Asked,
    order: Order,
    environment: Mapping[str, str],
) -> tuple[dict[str, Visit], dict[str, str]]:
    """Visits, and why there is none; again without those that cannot be reached or are busy."""
    visits: dict[str, Visit] = {}
    absent: dict[str, str] = {}
    for _ in range(ROUNDS):
        said, arrived = _ask(party, text, asked, order, environment)
        for name, visit in read_visits(said.lines).items():
            host = visit.host and {**visit.host, "asked": arrived.get(name)}
            visits[name] = replace(visit, host=host)
        left = tuple(name for name in party.names if name not in visits and name not in said.lost)
        absent |= {name: f"srun cannot reach it: {why}" for name, why in said.lost.items()}
        if said.lost and (left or party.count):
            excluded = party.excluded if party.names else (*party.excluded, *said.lost)
            party = replace(party, names=left, excluded=excluded)
            continue
        if not said.nodes and said.complaint and not said.lost:
            if "busy" not in said.complaint:
                raise NoNodes(
                    f"srun: {said.complaint}", hint="--partition, --account; sinfo says what there is"
                )
            rest = tuple(name for name in left if name in idle)
            if rest and len(rest) < len(left):
                absent |= _all_busy(set(left) - set(rest), asked)
                party = replace(party, names=rest)
                continue
            if not left:
                raise NoNodes(f"srun: {said.complaint}", hint="try later, or --wait S")
            return visits, absent | _all_busy(left, asked)
        break
    for name in {*party.names, *said.nodes} - set(visits) - set(absent):
        limit = f"no answer within {order.limit_s:.0f} s" if not said.in_time else "it gave no answer"
        absent[name] = said.words.get(name, said.complaint) or limit
    return visits, absent


def _all_busy(names: Iterable[str], asked: Asked) -> dict[str, str]:
    return dict.fromkeys(names, f"busy: no core was free within {asked.wait_s:.0f} s")


def at_one_time(host: Mapping[str, Any] | None, moment: float) -> dict[str, Any] | None:
    """A node's sheet with its clock as it stood when ours said `moment`, whenever the node was asked: so that
    clocks can be compared. `asked` (our time when it began) is used up."""
    if host is None:
        return None
    sheet = dict(host)
    asked, clock = sheet.pop("asked", None), sheet.get("clock")
    if asked is not None and isinstance(clock, (int, float)):
        sheet["clock"] = round(moment + clock - asked, 3)
    return sheet


def _ask(
    party: Party, text: str, asked: Asked, order: Order, environment: Mapping[str, str]
) -> tuple[Said, dict[str, float]]:
    """What was said, and when each node began."""
    progress = Progress("nodes", party.size)
    answered: set[str] = set()
    arrived: dict[str, float] = {}

    def count(line: str) -> None:
        words = line.partition(": ")[2].split(maxsplit=4)
        if len(words) == 2 and words[0] == HERE:
            arrived[words[1]] = time.time()
        if len(words) == 5 and words[0] == MARK and words[2] == words[3]:
            answered.add(words[1])
            progress.update(len(answered), words[1])

    say(f"looking at {compress(party.names) or f'{party.count} nodes'}")
    limits = {"wait_s": asked.wait_s, "limit_s": order.limit_s}
    return run_srun(party, text, environment, on_line=count, **limits), arrived


def _by_number(name: str) -> tuple[str, int, str]:
    """n2 stands before n10."""
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :] or 0), name
