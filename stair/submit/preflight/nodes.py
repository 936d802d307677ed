"""Whether a partition has the nodes that a request needs: as many, with all of it on the same ones. Pure.

Takes a Request and a Partition with its nodes, hands on Refusals, or the nodes that fit and how many of
them are up. The surprise: nodes that are down or drained now count as possible, since they come back; a
note tells of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from stair.cluster.features import Choice, choices, feature_names
from stair.cluster.hostlist import compress, expand
from stair.cluster.slurm_facts import Node, Partition, SlurmFacts
from stair.errors import UsageError, unknown
from stair.frozen import frozen
from stair.submit.options import Request
from stair.submit.preflight.verdict import Refusal, counted


@frozen
class Fit:
    """The nodes of a partition that a request could run on."""

    nodes: tuple[str, ...] = ()
    up: int = 0
    """How many of them take jobs now."""


@frozen
class Need:
    """One thing that every node of a job must have."""

    id: str
    asked: str
    amount: int
    has: Callable[[Node], int]
    setting: str
    unit: str

    def met_by(self, nodes: Sequence[Node]) -> list[Node]:
        return [node for node in nodes if self.has(node) >= self.amount]


def check_exclude(request: Request, facts: SlurmFacts) -> Iterator[Refusal]:
    """Nodes to be left out must at least exist: sbatch refuses others."""
    for text in request.exclude:
        try:
            missing = [name for name in expand(text) if name not in facts.nodes]
        except UsageError as error:
            possible = error.what
        else:
            if not missing or not facts.nodes:
                continue
            hint = unknown("node", missing[0], facts.nodes).hint
            possible = f"there is no node {compress(missing)}: {hint}"
        cure = "slurm.exclude of the profile"
        yield Refusal("exclude", request.step, f"all nodes but '{text}'", possible, cure)


def check_nodes(request: Request, facts: SlurmFacts, partition: Partition) -> tuple[list[Refusal], Fit]:
    """What keeps a partition from ever having the nodes; or nothing, with the nodes that fit."""
    pool = _pool(request, facts, partition)
    if len(pool) < request.nodes:
        without = f" without {', '.join(request.exclude)}" if request.exclude else ""
        possible = f"partition {partition.name} has {len(pool)}{without}"
        cure = f"{request.flag('nodes')} {len(pool)}" if pool else "slurm.exclude of the profile with fewer"
        return [Refusal("nodes", request.step, counted(request.nodes, "node"), possible, cure)], Fit()
    try:
        left = choices(request.constraint, {node.name: node.features for node in pool})
    except UsageError as error:
        cure = f"slurm.constraint of the profile: {error.hint}"
        asked = f"nodes with '{request.constraint}'"
        return [Refusal("constraint", request.step, asked, "Slurm cannot read that", cure)], Fit()
    refusals = list(_check_constraint(request, facts, partition, left, pool))
    if refusals:
        return refusals, Fit()
    needs = list(_needs(request, facts, partition))
    for need in needs:
        if not _enough(left, need.met_by(pool), request.nodes):
            refusals.append(
                _unknown_gres(request, facts, need) or _too_much(request, partition, need, left, pool)
            )
    able = [node for node in pool if all(need.has(node) >= need.amount for need in needs)]
    if not refusals and not _enough(left, able, request.nodes):
        refusals.append(_not_together(request, partition, needs, pool, able))
    fitting = {node.name: node for choice in left for node in _of(choice, able)}
    return refusals, Fit(tuple(fitting), sum(node.up for node in fitting.values()))


def _pool(request: Request, facts: SlurmFacts, partition: Partition) -> list[Node]:
    """The partition's nodes that are not to be left out. FUTURE ones exist on paper only."""
    left_out: set[str] = set()
    for text in request.exclude:
        try:
            left_out.update(expand(text))
        except UsageError:  # told by check_exclude
            continue
    nodes = (facts.nodes[name] for name in partition.nodes if name in facts.nodes)
    return [node for node in nodes if node.name not in left_out and node.state != "FUTURE"]


def _check_constraint(
    request: Request, facts: SlurmFacts, partition: Partition, left: Sequence[Choice], pool: Sequence[Node]
) -> Iterator[Refusal]:
    asked = f"{counted(request.nodes, 'node')} with '{request.constraint}'"
    where = "slurm.constraint of the profile"
    known = {feature for node in facts.nodes.values() for feature in node.features}
    strangers = [name for name in feature_names(request.constraint) if name not in known]
    if strangers:
        hint = unknown("feature", strangers[0], known).hint if known else "no node has any"
        possible = f"no node has the feature '{strangers[0]}': {hint}"
        yield Refusal(
            "constraint-unknown", request.step, asked, possible, f"{where}: {', '.join(sorted(known))}"
        )
    elif not _enough(left, pool, request.nodes):
        most = max(len(_of(choice, pool)) for choice in left)
        short = [f"{len(have)} with '{name}'" for choice in left for name, count, have in choice.least]
        alike = " that may go together" if len(left) > 1 else ""
        have = ", ".join(short) or f"{most} such nodes{alike}"
        possible = f"partition {partition.name} has {have}"
        cure = where if short or not most else f"{request.flag('nodes')} {most}, or {where}"
        yield Refusal("constraint-nodes", request.step, asked, possible, cure)


def _needs(request: Request, facts: SlurmFacts, partition: Partition) -> Iterator[Need]:
    """GPUs, CPUs and memory of each node."""
    if request.gpus > 0:
        asked = f"{request.gpus} × {request.gres} per node"

        def gpus(node: Node) -> int:
            return node.count(request.gres_name, request.gres_type)

        yield Need("gres", asked, request.gpus, gpus, "gpus", request.gres)
    cores, memory = request.cores, request.mem_mb
    per_cpu = partition.max_mem_per_cpu or facts.max_mem_per_cpu
    if per_cpu and memory:  # Slurm then takes as many CPUs as the memory is worth
        cores = max(cores, math.ceil(memory / per_cpu))
    asked = f"{cores} cores per node" + (f" (that many for {memory} MB)" if cores > request.cores else "")
    most_cpus, most_mb = partition.max_cpus_per_node, partition.max_mem_per_node or facts.max_mem_per_node
    yield Need("cores", asked, cores, lambda node: min(node.cpus, most_cpus or node.cpus), "cores", "cores")
    if memory > 0:
        asked = f"{memory} MB of memory per node"
        yield Need(
            "memory", asked, memory, lambda node: min(node.memory, most_mb or node.memory), "mem_gb", "MB"
        )


def _too_much(
    request: Request, partition: Partition, need: Need, left: Sequence[Choice], pool: Sequence[Node]
) -> Refusal:
    """One need that too few nodes meet: what they could give, and how many nodes could give it."""
    best = max(_nth([need.has(node) for node in _of(choice, pool)], request.nodes) for choice in left)
    able = max((need.met_by(_of(choice, pool)) for choice in left), key=len)
    such = f" with '{request.constraint}'" if request.constraint else ""
    possible = f"partition {partition.name} has {counted(len(able), 'node')} like that{such}"
    if best:
        possible += f"; {counted(request.nodes, 'node')} can give {best} {need.unit}"
        possible += " each" if request.nodes > 1 else ""
    amount = f"{best / 1024:g}" if need.setting == "mem_gb" else str(best)
    ways = [f"{request.flag(need.setting)} {amount}"] if best else []
    ways += [f"{request.flag('nodes')} {len(able)}"] if able else []
    ways = ways or ["another slurm.constraint or slurm.gres of the profile"]
    return Refusal(need.id, request.step, need.asked, possible, ", or ".join(ways))


def _not_together(
    request: Request, partition: Partition, needs: Sequence[Need], pool: Sequence[Node], able: Sequence[Node]
) -> Refusal:
    """Each need is met by enough nodes, but not by the same ones."""
    needs = [need for need in needs if len(need.met_by(pool)) < len(pool)]
    asked = " and ".join([counted(request.nodes, "node"), *(need.asked for need in needs)])
    if request.constraint:
        asked += f" with '{request.constraint}'"
    each = ", ".join(f"{len(need.met_by(pool))} have {need.asked}" for need in needs)
    possible = f"of the {len(pool)} nodes of partition {partition.name} {len(able)} have all of it: {each}"
    fewer = f"{request.flag('nodes')} {len(able)}, or " if 0 < len(able) < request.nodes else ""
    cure = f"{fewer}less of one of them"
    return Refusal("nodes-together", request.step, asked, possible, cure)


def _unknown_gres(request: Request, facts: SlurmFacts, need: Need) -> Refusal | None:
    """A name or a type of GRES that no node of the cluster has."""
    if need.id != "gres":
        return None
    have = [gres for node in facts.nodes.values() for gres in node.gres]
    names = {gres.name for gres in have} | set(facts.gres_types)
    types = {gres.type for gres in have if gres.name == request.gres_name and gres.type}
    profile = "slurm.gres of the profile"
    if not names:
        possible, cure = "no node of the cluster has any GRES", f"{request.flag('gpus')} 0"
    elif request.gres_name not in names:
        possible = f"there is no GRES '{request.gres_name}': {unknown('GRES', request.gres_name, names).hint}"
        cure = f"{profile}: {', or '.join(sorted(names))}"
    elif request.gres_type and request.gres_type not in types:
        hint = unknown("type", request.gres_type, types).hint if types else "types have no names here"
        possible = f"no node has a {request.gres_name} of type '{request.gres_type}': {hint}"
        cure = f"{profile}: " + ", or ".join(
            [request.gres_name, *(f"{request.gres_name}:{t}" for t in sorted(types))]
        )
        return Refusal("gres-type", request.step, need.asked, possible, cure)
    else:
        return None
    return Refusal("gres-unknown", request.step, need.asked, possible, cure)


def _enough(left: Sequence[Choice], able: Sequence[Node], nodes: int) -> bool:
    """Whether one of the choices has enough able nodes, and enough of each kind that it counts."""
    names = {node.name for node in able}
    return any(
        len(choice.allowed & names) >= nodes
        and all(len(have & names) >= count for _, count, have in choice.least)
        for choice in left
    )


def _of(choice: Choice, nodes: Sequence[Node]) -> list[Node]:
    return [node for node in nodes if node.name in choice.allowed]


def _nth(amounts: Sequence[int], nodes: int) -> int:
    """How much each of the `nodes` best nodes can give."""
    return sorted(amounts, reverse=True)[nodes - 1] if len(amounts) >= nodes else 0
